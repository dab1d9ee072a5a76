int main(void)
{
    struct tevent_context *ev = tevent_context_init(NULL);
    struct sss_sigchild_ctx *sigchld_ctx;

    if (ev == NULL || sss_sigchld_init(ev, ev, &sigchld_ctx) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        services[i].pid = start_process(3 + i);
        if (watch(ev, sigchld_ctx, &services[i]) != 0) {
            return 1;
        }
    }
    while (services_run()) {
        tevent_loop_once(ev);
    }
    talloc_free(ev);
    return services_report();
}
