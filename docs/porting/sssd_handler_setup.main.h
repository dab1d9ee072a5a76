int main(void)
{
    struct tevent_context *ev = tevent_context_init(NULL);
    struct sss_child_ctx_old *child;

    signal(SIGCHLD, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (ev == NULL || watch(ev, &services[i], &child) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        tevent_loop_once(ev);
    }
    talloc_free(ev);
    return services_report();
}
