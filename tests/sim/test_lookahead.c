/* The policies that look ahead, in the simulated loop: a sale that is served from its first second, an outage through
 * which the size is kept. */
#include <time.h>

#include "simkit.h"

#define BLOCKS                                                                                               \
    "controller = { interval = \"2s\"; };\n"                                                                 \
    "sources = { lb = { driver = \"sim\"; }; };\n"                                                           \
    "groups = { web = { min = 2; max = 12; scale_in = { window = \"20s\"; };\n"                              \
    "  compute = { driver = \"sim\"; hosts = [ \"a\" ]; };\n"                                                \
    "  health = { http = \"/\"; interval = \"500ms\"; rise = 2; boot_timeout = \"3m\"; };\n"                 \
    "  balancer = { driver = \"sim\"; hosts = [ \"lb\" ]; drain = \"10s\"; };\n"

static void sale(struct kit *k, const char *more)
{
    char text[2000], start[32];
    /* the simulated wall clock is known only when the world exists: the same for all worlds */
    struct simworld *s = sim_new(&(struct sim_params){ .seed = 1 }, kit_metric, k);
    assert_non_null(s);
    time_t at = (time_t)(sim_wall(s) / 1000 / 60 * 60 + 600);
    sim_free(s);
    struct tm tm;
    assert_non_null(gmtime_r(&at, &tm));
    strftime(start, sizeof start, "%Y-%m-%d %H:%M", &tm);
    snprintf(
        text, sizeof text,
        BLOCKS
        "  policies = [ \"sale\" ]; }; };\n"
        "policies = { sale = { type = \"floor\"; count = 8; start = \"%s\"; duration = \"5m\"; %s }; };\n",
        start, more);
    kit_start(k, text, &(struct sim_params){ .seed = 1, .boot_ms = 45000, .session_ms = 3000 });
    kit_run(k, at * 1000 - sim_wall(k->sim) - 2 * AS_MINUTE);
    assert_int_equal(sim_up(k->sim, "web"), 2); /* not long before: the lead is 45 s and a little */
    kit_run(k, 2 * AS_MINUTE);
}

static void sale_is_served_from_its_first_second_and_let_go_slowly(void **state)
{
    (void)state;
    struct kit k = { 0 };
    sale(&k, "release = \"4m\";");
    assert_int_equal(sim_up(k.sim, "web"), 8);
    kit_run(&k, 5 * AS_MINUTE - 2 * AS_SECOND);
    assert_int_equal(sim_up(k.sim, "web"), 8);
    kit_run(&k, 2 * AS_MINUTE + 30 * AS_SECOND);
    assert_in_range(sim_up(k.sim, "web"), 3, 5);
    kit_run(&k, 3 * AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 2);
    kit_end(&k);
}

static void sale_not_ready_at_start_is_served_one_boot_later(void **state)
{
    (void)state;
    struct kit k = { 0 };
    sale(&k, "ready = false;");
    assert_int_equal(sim_up(k.sim, "web"), 2); /* so that the test before proves the lead */
    kit_run(&k, AS_MINUTE);
    assert_int_equal(sim_up(k.sim, "web"), 8);
    kit_end(&k);
}

static const char load[] = "  load = { type = \"target\"; metric = \"lb.load\"; per_instance = 10.0; };\n";

/* `room` of the simulated source stands for the errors. */
static void outage_keeps_the_size_through_the_storm(void **state)
{
    (void)state;
    for (int guarded = 0; guarded < 2; guarded++) {
        struct kit k = { .load = 75 };
        char text[2000];
        snprintf(text, sizeof text,
                 BLOCKS "  policies = [ \"load\"%s ]; }; };\npolicies = {\n%s"
                        "  guard = { type = \"collapse\"; metric = \"lb.load\"; errors = \"lb.room\"; hold = "
                        "\"5m\"; }; };\n",
                 guarded ? ", \"guard\"" : "", load);
        kit_start(&k, text, &(struct sim_params){ .seed = 3, .session_ms = 3000 });
        kit_run(&k, 10 * AS_MINUTE);
        assert_int_equal(sim_up(k.sim, "web"), 8);
        k.load = 4; /* the balancer answers errors */
        k.room = 40;
        kit_run(&k, 10 * AS_MINUTE);
        assert_int_equal(sim_up(k.sim, "web"), guarded ? 8 : 2);
        k.load = 75;
        k.room = 0;
        kit_run(&k, 4 * AS_SECOND);
        assert_true(!guarded || sim_up(k.sim, "web") == 8);
        k.load = 31;
        kit_run(&k, 7 * AS_MINUTE); /* the hold is over: sized for the load again */
        assert_int_equal(sim_up(k.sim, "web"), 4);
        kit_end(&k);
    }
}

/* Five days as the journal of a shop keeps them: 20, and from five minutes after `now` within 20 minutes up to 80. */
static void write_past(struct kit *k, int64_t now)
{
    struct journal *j = NULL;
    struct as_error err = { 0 };
    if (journal_open(k->journal_path, "autoscale", JOURNAL_WRITE, &j, &err) != AS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(journal_begin(j, &err), AS_OK);
    for (int64_t m = -5 * 1440; m < 0; m++) {
        int64_t time = (m + 5 * 1440) % 1440;
        double rise = (double)(time - 5) / 20, fall = (double)(600 - time) / 20;
        double part = rise < fall ? rise : fall;
        struct journal_sample s = { .wall = (now / AS_MINUTE + m) * AS_MINUTE,
                                    .metric = "lb.load",
                                    .count = 30 };
        s.mean = s.min = s.max = 20 + 60 * (part < 0 ? 0 : part > 1 ? 1 : part);
        assert_int_equal(journal_put_sample(j, &s, &err), AS_OK);
    }
    assert_int_equal(journal_commit(j, &err), AS_OK);
    journal_close(j);
}

static void season_in_the_journal_is_served_one_lead_before_its_rush(void **state)
{
    (void)state;
    for (int acts = 0; acts < 2; acts++) {
        struct kit k = { .load = 20 };
        char text[2000];
        snprintf(text, sizeof text,
                 BLOCKS "  policies = [ \"load\", \"season\" ]; }; };\npolicies = {\n%s"
                        "  season = { type = \"forecast\"; metric = \"lb.load\"; per_instance = 10.0; lead = "
                        "\"10m\"; mode = \"%s\"; }; };\n",
                 load, acts ? "act" : "advise");
        kit_start(&k, text, &(struct sim_params){ .seed = 4, .session_ms = 3000 });
        kit_crash(&k);
        write_past(&k, sim_wall(k.sim));
        kit_boot(&k);
        kit_run(&k, 3 * AS_MINUTE); /* the load of the 14th minute is 47, and it is still 20 */
        assert_int_equal(sim_up(k.sim, "web"), acts ? 5 : 2);
        kit_run(&k, 2 * AS_HOUR); /* it does not come: for that the season is not believed for long */
        assert_int_equal(sim_up(k.sim, "web"), 2);
        kit_end(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sale_is_served_from_its_first_second_and_let_go_slowly),
        cmocka_unit_test(sale_not_ready_at_start_is_served_one_boot_later),
        cmocka_unit_test(outage_keeps_the_size_through_the_storm),
        cmocka_unit_test(season_in_the_journal_is_served_one_lead_before_its_rush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
