int main(void)
{
    signal(SIGCHLD, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        watch(&services[i]);
    }
    while (services_run()) {
        g_main_context_iteration(NULL, TRUE);
    }
    return services_report();
}
