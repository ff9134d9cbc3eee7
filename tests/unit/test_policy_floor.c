/* The floor by schedule: midnight, daylight saving time, leap days; the calendar and the zones below it. */
#include <time.h>

#include "../../policies/civil.h"
#include "../../policies/schedule.h"
#include "policy_kit.h"

extern const struct as_policy_type as_policy_floor;

/* "2026-03-29 01:00:00" in UTC, by the C library. */
static int64_t utc(const char *text)
{
    struct tm tm = { 0 };
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return timegm(&tm);
}

static struct as_proposal look_at(struct kit *k, const char *when)
{
    k->view.now_wall = utc(when) * 1000;
    struct as_proposal p = kit_look(k);
    assert_false(p.blind);
    return p;
}

static bool inside(struct kit *k, const char *when)
{
    struct as_proposal p = look_at(k, when);
    assert_true(p.kind == AS_FLOOR || p.kind == AS_ABSTAIN);
    return p.kind == AS_FLOOR;
}

/* Inside from the first second to the last, and not a second around. Times in UTC. */
static void assert_window(struct kit *k, const char *first, const char *end)
{
    k->view.now_wall = (utc(first) - 1) * 1000 + 999;
    assert_int_equal(kit_look(k).kind, AS_ABSTAIN);
    assert_true(inside(k, first));
    k->view.now_wall = utc(end) * 1000 - 1;
    assert_int_equal(kit_look(k).kind, AS_FLOOR);
    assert_false(inside(k, end));
}

#define FLOOR(more) kit_new(&as_policy_floor, "count = 8; " more)

static void holds_inside_and_tells_what_comes_next(void **unused)
{
    (void)unused;
    struct kit *k =
        FLOOR("start = \"20:00\"; duration = \"6h\"; days = [ \"fri\" ]; timezone = \"Europe/Berlin\";");
    assert_window(k, "2026-11-27 19:00:00", "2026-11-28 01:00:00");
    struct as_proposal p = look_at(k, "2026-11-27 20:00:00");
    assert_int_equal(p.count, 8);
    assert_string_equal(p.reason, "at least 8 from Fri 27 Nov 20:00 CET until Sat 28 Nov 02:00 CET");
    assert_string_equal(look_at(k, "2026-11-23 12:00:00").reason,
                        "next from Fri 27 Nov 20:00 CET, at least 8");
    assert_string_equal(look_at(k, "2026-12-31 12:00:00").reason,
                        "next from Fri 1 Jan 2027 20:00 CET, at least 8");
    kit_free(k);
}

static void clock_set_back_changes_nothing(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"20:00\"; duration = \"1h\";");
    assert_false(inside(k, "2026-11-27 21:00:00"));
    assert_true(inside(k, "2026-11-27 20:30:00"));
    assert_string_equal(look_at(k, "2026-11-25 10:00:00").reason,
                        "next from Wed 25 Nov 20:00 UTC, at least 8");
    assert_string_equal(look_at(k, "2026-11-24 10:00:00").reason,
                        "next from Tue 24 Nov 20:00 UTC, at least 8");
    assert_string_equal(look_at(k, "2026-11-29 22:00:00").reason,
                        "next from Mon 30 Nov 20:00 UTC, at least 8");
    kit_free(k);
}

static void window_passes_midnight_on_its_own_day_only(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"22:00\"; duration = \"4h\"; days = \"sun\";");
    assert_window(k, "2026-11-29 22:00:00", "2026-11-30 02:00:00"); /* into Monday */
    assert_false(inside(k, "2026-11-29 00:30:00"));                 /* Sunday before its start */
    kit_free(k);
}

static void window_of_days_may_overlap_itself(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"12:00\"; duration = \"1d12h\"; days = [ \"mon\", \"tue\" ];");
    assert_window(k, "2026-11-23 12:00:00", "2026-11-26 00:00:00");
    assert_string_equal(look_at(k, "2026-11-24 18:00:00").reason,
                        "at least 8 from Mon 23 Nov 12:00 UTC until Thu 26 Nov 00:00 UTC");
    kit_free(k);
}

static void skipped_start_begins_right_after_the_skip(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"02:30\"; duration = \"1h\"; timezone = \"Europe/Berlin\";");
    assert_window(k, "2026-03-28 01:30:00", "2026-03-28 02:30:00");
    assert_window(k, "2026-03-29 01:00:00", "2026-03-29 02:00:00"); /* 03:00 to 04:00 CEST */
    assert_window(k, "2026-03-30 00:30:00", "2026-03-30 01:30:00");
    assert_string_equal(look_at(k, "2026-03-29 01:30:00").reason,
                        "at least 8 from Sun 29 Mar 03:00 CEST until Sun 29 Mar 04:00 CEST");
    kit_free(k);
    k = FLOOR("start = \"02:30\"; duration = \"1h\"; timezone = \"America/New_York\";");
    assert_window(k, "2026-03-08 07:00:00", "2026-03-08 08:00:00");
    kit_free(k);
}

static void doubled_start_begins_once_the_first_time(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"02:30\"; duration = \"30m\"; timezone = \"Europe/Berlin\";");
    assert_window(k, "2026-10-25 00:30:00", "2026-10-25 01:00:00"); /* 02:30 CEST */
    assert_false(inside(k, "2026-10-25 01:30:00"));                 /* 02:30 CET, the second time */
    assert_window(k, "2026-10-26 01:30:00", "2026-10-26 02:00:00");
    kit_free(k);
    k = FLOOR("start = \"01:30\"; duration = \"20m\"; timezone = \"America/New_York\";");
    assert_window(k, "2026-11-01 05:30:00", "2026-11-01 05:50:00");
    assert_false(inside(k, "2026-11-01 06:35:00"));
    kit_free(k);
}

static void duration_is_elapsed_time(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"22:00\"; duration = \"8h\"; timezone = \"Europe/Berlin\";");
    assert_window(k, "2026-03-28 21:00:00", "2026-03-29 05:00:00"); /* to 07:00 CEST */
    assert_window(k, "2026-10-24 20:00:00", "2026-10-25 04:00:00"); /* to 05:00 CET */
    kit_free(k);
    k = FLOOR("start = \"22:00\"; duration = \"8h\"; timezone = \"America/New_York\";");
    assert_window(k, "2026-10-31 02:00:00", "2026-10-31 10:00:00");
    assert_window(k, "2026-11-01 02:00:00", "2026-11-01 10:00:00"); /* to 05:00 EST */
    kit_free(k);
}

static void dates_once_and_yearly(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"08:00\"; duration = \"1h\"; dates = [ \"2026-11-27\", \"12-24\" ];");
    assert_true(inside(k, "2026-11-27 08:30:00"));
    assert_false(inside(k, "2027-11-27 08:30:00"));
    assert_true(inside(k, "2026-12-24 08:30:00"));
    assert_true(inside(k, "2031-12-24 08:30:00"));
    assert_false(inside(k, "2026-12-25 08:30:00"));
    kit_free(k);
    k = FLOOR("start = \"08:00\"; duration = \"1h\"; days = \"mon\"; dates = \"12-24\";"); /* a Thursday */
    assert_true(inside(k, "2026-12-24 08:30:00"));
    assert_true(inside(k, "2026-12-21 08:30:00"));
    assert_false(inside(k, "2026-12-22 08:30:00"));
    kit_free(k);
}

static void leap_day_comes_in_leap_years_only(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"23:00\"; duration = \"2h\"; dates = \"02-29\";");
    assert_window(k, "2028-02-29 23:00:00", "2028-03-01 01:00:00");
    assert_false(inside(k, "2027-03-01 00:30:00"));
    assert_false(inside(k, "2027-02-28 23:30:00"));
    assert_string_equal(look_at(k, "2096-03-02 00:00:00").reason, /* 2100 is none */
                        "next from Fri 29 Feb 2104 23:00 UTC, at least 8");
    kit_free(k);
}

static void date_and_time_is_just_once(void **unused)
{
    (void)unused;
    struct kit *k =
        FLOOR("start = \"2026-11-27 20:00:30\"; duration = \"3d\"; timezone = \"America/New_York\";");
    assert_window(k, "2026-11-28 01:00:30", "2026-12-01 01:00:30");
    assert_string_equal(look_at(k, "2026-11-01 00:00:00").reason,
                        "next from Fri 27 Nov 20:00:30 EST, at least 8");
    assert_string_equal(look_at(k, "2026-12-02 00:00:00").reason,
                        "no further window: every date of the schedule is past");
    kit_free(k);
}

static void ready_at_start_means_ordered_one_lead_before(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"20:00\"; duration = \"1h\"; timezone = \"Europe/Berlin\";");
    k->view.lead = 88500; /* and a tick of two seconds: 90.5, so 91 */
    assert_window(k, "2026-11-27 18:58:29", "2026-11-27 20:00:00");
    assert_string_equal(look_at(k, "2026-11-27 18:59:00").reason,
                        "at least 8, begun 1m31s early to serve from Fri 27 Nov 20:00 CET");
    kit_free(k);
    k = FLOOR("start = \"02:30\"; duration = \"1h\"; timezone = \"Europe/Berlin\";");
    k->view.lead = 58000;
    assert_window(k, "2026-03-29 00:59:00", "2026-03-29 02:00:00"); /* before the skip; it starts after it */
    assert_window(k, "2026-10-25 00:29:00", "2026-10-25 01:30:00"); /* the first of two */
    kit_free(k);
    k = FLOOR("start = \"20:00\"; duration = \"1h\"; ready = false;");
    k->view.lead = 88500;
    assert_window(k, "2026-11-27 20:00:00", "2026-11-27 21:00:00");
    kit_free(k);
}

/* A floor of 8: with 3 there, five parked ones do it, four do not. */
static void parked_ones_need_not_be_ordered_as_early(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"20:00\"; duration = \"1h\"; timezone = \"Europe/Berlin\";");
    k->view.lead = 88500;
    k->view.unpark_lead = 1000;
    k->view.current = 3;
    k->view.parked = 5;
    assert_window(k, "2026-11-27 18:59:57", "2026-11-27 20:00:00");
    k->view.parked = 4;
    assert_window(k, "2026-11-28 18:58:29", "2026-11-28 20:00:00");
    kit_free(k);
}

static void lead_that_varies_never_takes_a_begun_window_back(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"20:00\"; duration = \"1h\";");
    k->view.lead = 300000;
    assert_false(inside(k, "2026-11-27 19:54:00"));
    assert_true(inside(k, "2026-11-27 19:55:00"));
    k->view.lead = 10000; /* the launches were quick: the measure falls at once */
    assert_true(inside(k, "2026-11-27 19:55:02"));
    assert_true(inside(k, "2026-11-27 19:59:59"));
    assert_true(inside(k, "2026-11-27 20:30:00"));
    assert_false(inside(k, "2026-11-27 21:00:00"));
    assert_false(inside(k, "2026-11-28 19:59:00")); /* the next one has its own */
    assert_true(inside(k, "2026-11-28 19:59:48"));
    k->view.lead = 600000; /* slower than thought: earlier */
    assert_true(inside(k, "2026-11-29 19:50:00"));
    assert_false(inside(k, "2026-11-29 12:00:00")); /* a clock set back is still no reason */
    kit_free(k);
}

static void release_falls_in_a_straight_line_after_the_end(void **unused)
{
    (void)unused;
    struct kit *k = FLOOR("start = \"20:00\"; duration = \"1h\"; release = \"40m\";");
    assert_window(k, "2026-11-27 20:00:00", "2026-11-27 21:40:00");
    assert_int_equal(look_at(k, "2026-11-27 20:59:59").count, 8);
    assert_int_equal(look_at(k, "2026-11-27 21:00:00").count, 8);
    assert_int_equal(look_at(k, "2026-11-27 21:05:00").count, 7);
    assert_int_equal(look_at(k, "2026-11-27 21:20:00").count, 4);
    assert_int_equal(look_at(k, "2026-11-27 21:39:59").count, 1);
    assert_string_equal(look_at(k, "2026-11-27 21:20:00").reason,
                        "at least 4 of 8: ended Fri 27 Nov 21:00 UTC, released until Fri 27 Nov 21:40 UTC");
    k->view.lead = 0;
    assert_string_equal(look_at(k, "2026-11-27 21:40:00").reason,
                        "next from Sat 28 Nov 20:00 UTC, at least 8");
    kit_free(k);
    k = FLOOR("start = \"20:00\"; duration = \"23h\"; release = \"2h\";");
    k->view.lead = 598000; /* the next one begins while this one is released */
    assert_int_equal(look_at(k, "2026-11-28 19:30:00").count, 6);
    assert_int_equal(look_at(k, "2026-11-28 19:50:00").count, 8);
    assert_int_equal(look_at(k, "2026-11-28 20:00:00").count, 8);
    kit_free(k);
}

static void schedules_that_cannot_be_are_refused(void **unused)
{
    (void)unused;
#define REFUSED(more, part) kit_refused(&as_policy_floor, "count = 8; duration = \"1h\"; " more, part)
    REFUSED("start = \"24:00\";", "neither a time");
    REFUSED("start = \"8:00\";", "neither a time");
    REFUSED("start = \"2026-02-29 20:00\";", "neither a time");
    REFUSED("start = \"2026-11-27 20:00\"; days = \"mon\";", "date already");
    REFUSED("start = \"20:00\"; days = [ \"mon\", \"friday\" ];", "friday");
    REFUSED("start = \"20:00\"; dates = \"2027-02-29\";", "2027-02-29");
    REFUSED("start = \"20:00\"; dates = \"13-01\";", "13-01");
    REFUSED("start = \"20:00\"; timezone = \"Europe/Berln\";", "no time zone \"Europe/Berln\"");
    REFUSED("start = \"20:00\"; timezone = \"Europe\";", "Europe");
    REFUSED("start = \"20:00\"; timezone = \"../../../etc/passwd\";", "is no time zone");
    REFUSED("start = \"20:00\"; timezone = \"/etc/localtime\";", "is no time zone");
    REFUSED("start = \"20:00\"; timezone = \"zone.tab\";", "is no time zone");
    REFUSED("", "start");
    kit_refused(&as_policy_floor, "count = 8; start = \"20:00\"; duration = \"32d\";", "duration");
    kit_refused(&as_policy_floor, "count = 0; start = \"20:00\"; duration = \"1h\";", "count");
}

/* --- below it ------------------------------------------------------------------------------------ */

static void calendar_agrees_with_the_c_library(void **unused)
{
    (void)unused;
    for (int64_t day = -719162; day < 2932897; day += 97) { /* years 1 to 9999 */
        time_t t = (time_t)(day * CIVIL_DAY);
        struct tm tm;
        struct civil c = civil_of(day);
        assert_non_null(gmtime_r(&t, &tm));
        assert_int_equal(c.year, tm.tm_year + 1900);
        assert_int_equal(c.month, tm.tm_mon + 1);
        assert_int_equal(c.day, tm.tm_mday);
        assert_int_equal(civil_weekday(day), tm.tm_wday);
        assert_int_equal(civil_days(c.year, c.month, c.day), day);
        assert_int_equal(civil_day_of((int64_t)t + CIVIL_DAY - 1), day);
    }
}

static void zones_agree_with_the_c_library(void **unused)
{
    (void)unused;
    const char *const zones[] = { "Europe/Berlin",       "America/New_York",  "Europe/Dublin",
                                  "Australia/Lord_Howe", "Asia/Kathmandu",    "Pacific/Apia",
                                  "America/Santiago",    "Africa/Casablanca", "Antarctica/Troll",
                                  "Asia/Jerusalem",      "Pacific/Chatham",   "Etc/GMT+12" };
    char *before = getenv("TZ") ? strdup(getenv("TZ")) : NULL;
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        struct tz *tz = NULL;
        struct as_error err;
        if (tz_load(zones[i], &tz, &err))
            fail_msg("%s", err.msg);
        setenv("TZ", zones[i], 1); /* this process only, to ask the C library */
        tzset();
        for (int64_t t = -1500000000; t < 7000000000; t += 86400 * 3 + 3607) {
            time_t when = (time_t)t;
            struct tm tm;
            assert_non_null(localtime_r(&when, &tm));
            struct tz_segment seg = tz_at(tz, t);
            assert_int_equal(seg.offset, tm.tm_gmtoff);
            assert_string_equal(seg.abbrev, tm.tm_zone);
            assert_true(seg.end > t);
        }
        tz_free(tz);
    }
    if (before)
        setenv("TZ", before, 1);
    else
        unsetenv("TZ");
    free(before);
    tzset();
}

static void rules_of_all_forms_are_applied(void **unused)
{
    (void)unused;
    struct tz_rule r;
    int64_t until;
    assert_true(tz_rule_parse("XXX3EDT4,0/0,J365/23", &r)); /* daylight saving all year */
    for (int64_t t = utc("2026-12-30 00:00:00"); t < utc("2027-01-03 00:00:00"); t += 1800)
        assert_true(tz_rule_at(&r, t, &until));
    assert_true(tz_rule_parse("AAA0BBB,J60/0,J61/0", &r)); /* 1 March, leap year or not */
    assert_true(tz_rule_at(&r, utc("2028-03-01 00:00:00"), &until));
    assert_int_equal(until, utc("2028-03-01 23:00:00"));
    assert_false(tz_rule_at(&r, utc("2028-02-29 12:00:00"), &until));
    assert_true(tz_rule_parse("AAA0BBB,59/0,60/0", &r)); /* day 59 is 29 February in a leap year */
    assert_true(tz_rule_at(&r, utc("2028-02-29 12:00:00"), &until));
    assert_true(tz_rule_at(&r, utc("2027-03-01 12:00:00"), &until));
    assert_true(tz_rule_parse("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", &r));
    assert_int_equal(r.std_offset, -10800);
    assert_string_equal(r.dst, "-02");
    const char *const bad[] = { "",
                                "CE-1",
                                "CET",
                                "CET-1CEST",
                                "CET-1CEST,M3.5.0",
                                "CET-1CEST,M13.5.0,M10.5.0",
                                "CET-1CEST,M3.6.0,M10.5.0",
                                "CET-25",
                                "CET-1CEST,M3.5.0,M10.5.0x",
                                "<CET-1",
                                "CET-1CEST,J0,J365",
                                "CET-1CEST,366,1",
                                "CET-1CEST,M3.5.0/168,M10.5.0" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tz_rule_parse(bad[i], &r))
            fail_msg("\"%s\" was read", bad[i]);
}

static void every_truncation_of_a_zone_file_is_refused(void **unused)
{
    (void)unused;
    static uint8_t data[TZ_FILE_MAX];
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    assert_non_null(f);
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    struct tz *tz = NULL;
    struct as_error err;
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* exactly as long, so that a sanitizer sees a read past it */
        assert_non_null(cut);
        memcpy(cut, data, n);
        assert_int_equal(tz_parse(cut, n, &tz, &err), AS_EPROTO);
        free(cut);
    }
    assert_int_equal(tz_parse(data, size, &tz, &err), AS_OK);
    tz_free(tz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_inside_and_tells_what_comes_next),
        cmocka_unit_test(clock_set_back_changes_nothing),
        cmocka_unit_test(window_passes_midnight_on_its_own_day_only),
        cmocka_unit_test(window_of_days_may_overlap_itself),
        cmocka_unit_test(skipped_start_begins_right_after_the_skip),
        cmocka_unit_test(doubled_start_begins_once_the_first_time),
        cmocka_unit_test(duration_is_elapsed_time),
        cmocka_unit_test(dates_once_and_yearly),
        cmocka_unit_test(leap_day_comes_in_leap_years_only),
        cmocka_unit_test(date_and_time_is_just_once),
        cmocka_unit_test(ready_at_start_means_ordered_one_lead_before),
        cmocka_unit_test(parked_ones_need_not_be_ordered_as_early),
        cmocka_unit_test(lead_that_varies_never_takes_a_begun_window_back),
        cmocka_unit_test(release_falls_in_a_straight_line_after_the_end),
        cmocka_unit_test(schedules_that_cannot_be_are_refused),
        cmocka_unit_test(calendar_agrees_with_the_c_library),
        cmocka_unit_test(zones_agree_with_the_c_library),
        cmocka_unit_test(rules_of_all_forms_are_applied),
        cmocka_unit_test(every_truncation_of_a_zone_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
