/* The libvirt source: what is made of libvirt's statistics, and whose domains are measured, the latter against
 * libvirt's own test hypervisor with an inventory of ours. It tells of a domain only that it runs; the numbers
 * of real machines are in tests/e2e. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../drivers/source/libvirt_stats.h"

extern const struct as_source_driver as_source_libvirt;

#define MARK(controller, group, id)                                                                          \
    "<metadata><autoscale:instance xmlns:autoscale='urn:autoscale:instance:1' controller='" controller       \
    "' group='" group "' id='" id "'/></metadata>"
#define DOMAIN(name, mark, more)                                                                             \
    "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>" name "</name>" mark \
    "<memory>131072</memory><vcpu>2</vcpu><os><type>hvm</type></os>" more "</domain>"

static const char inventory[] = "<node>" DOMAIN("web-00000001", MARK("shop", "web", "web-00000001"), "")
    DOMAIN("web-00000002", MARK("shop", "web", "web-00000002"), "")
        DOMAIN("web-00000003", MARK("shop", "web", "web-00000003"), "<test:runstate>3</test:runstate>")
            DOMAIN("web-00000004", MARK("shop", "web", "web-00000004"), "<test:runstate>5</test:runstate>")
                DOMAIN("api-00000005", MARK("shop", "api", "api-00000005"), "")
                    DOMAIN("copy", MARK("shop", "web", "web-00000006"), "")
                        DOMAIN("web-00000007", MARK("other", "web", "web-00000007"), "")
                            DOMAIN("web-00000008", "", "") "</node>";

static char dir[] = "/tmp/as-lvsource-XXXXXX", uri[96];

/* --- what is read -------------------------------------------------------------------------------------- */

struct params {
    virTypedParameter items[64];
    int count;
};

static void put(struct params *p, const char *field, unsigned long long v)
{
    virTypedParameterPtr i = &p->items[p->count++];
    snprintf(i->field, sizeof i->field, "%s", field);
    i->type = VIR_TYPED_PARAM_ULLONG;
    i->value.ul = v;
}

static struct libvirt_usage read_usage(const struct params *p)
{
    struct libvirt_usage u;
    libvirt_usage_read(p->items, p->count, &u);
    return u;
}

static void what_a_domain_has_several_of_is_added_up(void **state)
{
    (void)state;
    struct params p = { .count = 0 };
    put(&p, "vcpu.current", 2);
    put(&p, "vcpu.maximum", 4);
    put(&p, "vcpu.0.state", 1);
    put(&p, "vcpu.0.time", 1000);
    put(&p, "vcpu.3.time", 500); /* numbers may have holes */
    put(&p, "vcpu.3.wait", 77);
    put(&p, "cpu.time", 99999);
    put(&p, "net.count", 2);
    put(&p, "net.0.rx.bytes", 10);
    put(&p, "net.1.rx.bytes", 20);
    put(&p, "net.1.rx.bytes.max", 1 << 20);
    put(&p, "net.0.tx.bytes", 3);
    put(&p, "block.0.rd.bytes", 5);
    put(&p, "block.12.rd.bytes", 6);
    put(&p, "block.0.rd.reqs", 1);
    put(&p, "block.0.wr.reqs", 2);
    put(&p, "block.0.wr.bytes", 8);
    put(&p, "block.0.wr.times", 800);
    put(&p, "block..wr.bytes", 1000);
    put(&p, "block.x.wr.bytes", 1000);
    struct libvirt_usage u = read_usage(&p);
    assert_true(u.vcpus == 2);
    assert_true(u.counts[LIBVIRT_COUNT_CPU_NS] == 1500);
    assert_true(u.counts[LIBVIRT_COUNT_NET_IN] == 30 && u.counts[LIBVIRT_COUNT_NET_OUT] == 3);
    assert_true(u.counts[LIBVIRT_COUNT_DISK_READ] == 11 && u.counts[LIBVIRT_COUNT_DISK_WRITE] == 8);
    assert_true(u.counts[LIBVIRT_COUNT_DISK_OPS] == 3);
}

static void what_is_not_told_or_no_number_is_missing(void **state)
{
    (void)state;
    struct params p = { .count = 0 };
    put(&p, "state.state", 1);
    put(&p, "vcpu.0.time", 5);
    p.items[1].type = VIR_TYPED_PARAM_LLONG;
    p.items[1].value.l = -5;
    put(&p, "net.0.rx.bytes", 0);
    p.items[2].type = VIR_TYPED_PARAM_DOUBLE;
    p.items[2].value.d = NAN;
    put(&p, "net.0.tx.bytes", 0);
    p.items[3].type = VIR_TYPED_PARAM_STRING;
    put(&p, "block.0.wr.bytes", 0);
    memset(p.items[4].field, 'x', sizeof p.items[4].field); /* not terminated */
    struct libvirt_usage u = read_usage(&p);
    for (int i = 0; i < LIBVIRT_COUNTS; i++)
        assert_true(u.counts[i] < 0);
    assert_true(u.vcpus < 0 && u.guest_total < 0 && u.guest_free < 0 && u.resident < 0 && u.told_at < 0);
}

static void memory_is_what_the_guest_cannot_give_away(void **state)
{
    (void)state;
    struct params p = { .count = 0 };
    put(&p, "balloon.current", 2048);
    put(&p, "balloon.rss", 900);
    struct libvirt_usage u = read_usage(&p);
    assert_true(u.resident == 900 * 1024 && u.guest_total < 0 && u.guest_free < 0);
    put(&p, "balloon.available", 1000);
    put(&p, "balloon.unused", 100);
    put(&p, "balloon.disk_caches", 300);
    u = read_usage(&p);
    assert_true(u.guest_total == 1000 * 1024 && u.guest_free == 400 * 1024);
    put(&p, "balloon.usable", 250); /* better: it knows which cache can go */
    assert_true(read_usage(&p).guest_free == 250 * 1024);
}

/* --- rates --------------------------------------------------------------------------------------------- */

static struct libvirt_usage used(double cpu_ns, double rx)
{
    struct libvirt_usage u = {
        .vcpus = 2, .guest_total = 1000, .guest_free = 400, .told_at = -1, .resident = 9
    };
    for (int i = 0; i < LIBVIRT_COUNTS; i++)
        u.counts[i] = -1;
    u.counts[LIBVIRT_COUNT_CPU_NS] = cpu_ns;
    u.counts[LIBVIRT_COUNT_NET_IN] = rx;
    return u;
}

static struct fleet_row take(struct libvirt_meter *m, int run, as_time now, struct libvirt_usage u)
{
    struct fleet_row row = { 0 };
    libvirt_meter_take(m, run, &u, now, &row);
    return row;
}

static void the_first_poll_has_no_rates_and_the_second_has(void **state)
{
    (void)state;
    struct libvirt_meter m = { 0 };
    struct fleet_row row = take(&m, 1, 1000, used(7e9, 100));
    assert_false(row.has[LIBVIRT_CPUS] || row.has[LIBVIRT_CPU_PERCENT] || row.has[LIBVIRT_NET_IN]);
    assert_true(row.value[LIBVIRT_MEMORY] == 600 && row.value[LIBVIRT_MEMORY_PERCENT] == 60);
    assert_true(row.value[LIBVIRT_RESIDENT] == 9 && row.value[LIBVIRT_ONE] == 1);
    row = take(&m, 1, 3000, used(8e9, 700));
    assert_true(fabs(row.value[LIBVIRT_CPUS] - 0.5) < 1e-9);
    assert_true(fabs(row.value[LIBVIRT_CPU_PERCENT] - 25) < 1e-9); /* of two */
    assert_true(fabs(row.value[LIBVIRT_NET_IN] - 300) < 1e-9);
    assert_false(row.has[LIBVIRT_NET_OUT] || row.has[LIBVIRT_DISK_READ]);
}

static void a_domain_started_anew_has_no_rate_once(void **state)
{
    (void)state;
    struct libvirt_meter m = { 0 };
    take(&m, 1, 1000, used(1e9, 100));
    struct fleet_row row = take(&m, 2, 3000, used(9e9, 900)); /* already past its old counts */
    assert_false(row.has[LIBVIRT_CPUS] || row.has[LIBVIRT_NET_IN]);
    row = take(&m, 2, 5000, used(10e9, 1000));
    assert_true(fabs(row.value[LIBVIRT_CPUS] - 0.5) < 1e-9);
    row = take(&m, 2, 7000, used(2e9, 1200)); /* a count that goes back, as of an unplugged vcpu */
    assert_false(row.has[LIBVIRT_CPUS] || row.has[LIBVIRT_CPU_PERCENT]);
    assert_true(fabs(row.value[LIBVIRT_NET_IN] - 100) < 1e-9);
}

static void a_guest_that_tells_nothing_new_for_a_minute_is_not_believed(void **state)
{
    (void)state;
    struct libvirt_meter m = { 0 };
    struct libvirt_usage u = used(0, 0);
    u.told_at = 1700000000;
    assert_true(take(&m, 1, 1000, u).has[LIBVIRT_MEMORY]);
    assert_true(take(&m, 1, 61000, u).has[LIBVIRT_MEMORY]);
    struct fleet_row row = take(&m, 1, 61001, u);
    assert_false(row.has[LIBVIRT_MEMORY] || row.has[LIBVIRT_MEMORY_PERCENT]);
    assert_true(row.has[LIBVIRT_RESIDENT]);
    u.told_at++;
    assert_true(take(&m, 1, 63000, u).has[LIBVIRT_MEMORY]);
}

/* --- whose ----------------------------------------------------------------------------------------------- */

struct source {
    struct as_settings *settings;
    void *self;
    struct as_samples samples;
    struct as_error err;
};

static int try_open(struct source *s, const char *text)
{
    *s = (struct source){ .self = calloc(1, as_source_libvirt.state_size) };
    if (as_settings_parse(as_source_libvirt.options, text, &s->settings, &s->err) != AS_OK)
        fail_msg("%s", s->err.msg);
    as_source_libvirt.own(s->self, "shop");
    return as_source_libvirt.open(s->self, s->settings, as_settings_item(s->settings, "hosts", 0), &s->err);
}

static void open_source(struct source *s, const char *more)
{
    char text[256];
    snprintf(text, sizeof text, "hosts = \"%s\"; %s", uri, more);
    if (try_open(s, text) != AS_OK)
        fail_msg("%s", s->err.msg);
}

static void poll_source(struct source *s)
{
    as_samples_fini(&s->samples);
    if (as_source_libvirt.poll(s->self, as_clock_monotonic() + AS_MINUTE, &s->samples, &s->err) != AS_OK)
        fail_msg("%s", s->err.msg);
}

static void close_source(struct source *s)
{
    as_source_libvirt.close(s->self);
    as_settings_free(s->settings);
    as_samples_fini(&s->samples);
    free(s->self);
}

static double sample(const struct source *s, const char *object, const char *series) /* NAN: missing */
{
    for (size_t i = 0; i < s->samples.count; i++)
        if (strcmp(s->samples.items[i].object, object) == 0 &&
            strcmp(s->samples.items[i].series, series) == 0)
            return s->samples.items[i].value;
    return NAN;
}

static void only_running_domains_with_our_mark_under_their_own_name_are_measured(void **state)
{
    (void)state;
    struct source s;
    open_source(&s, "");
    for (int poll = 0; poll < 2; poll++) { /* the second one knows them */
        poll_source(&s);
        assert_true(sample(&s, "web", "instances") == 2);
        assert_true(sample(&s, "api", "instances") == 1);
        assert_true(sample(&s, "web-00000001", "instances") == 1);
        assert_int_equal(s.samples.count, 5);
        assert_true(isnan(sample(&s, "web", "cpu_percent")));
    }
    close_source(&s);
}

static void groups_that_are_not_named_are_left_out(void **state)
{
    (void)state;
    struct source s;
    open_source(&s, "groups = [ \"api\" ]; measure = [ \"cpu\", \"disk\" ];");
    poll_source(&s);
    assert_int_equal(s.samples.count, 2);
    assert_true(sample(&s, "api", "instances") == 1);
    close_source(&s);
    open_source(&s, "groups = [ \"none\" ];"); /* nothing to ask for is no error */
    poll_source(&s);
    assert_int_equal(s.samples.count, 0);
    close_source(&s);
}

static void wrong_options_are_refused_offline(void **state)
{
    (void)state;
    struct source s;
    assert_int_equal(try_open(&s, "hosts = \"hv1\";"), AS_EINVAL);
    assert_non_null(strstr(s.err.msg, "no libvirt URI"));
    close_source(&s);
    assert_int_equal(try_open(&s, "hosts = \"qemu:///system\"; measure = \"ram\";"), AS_EINVAL);
    assert_non_null(strstr(s.err.msg, "'ram' is none of cpu, memory, network, disk"));
    close_source(&s);
}

static void a_host_that_is_not_there_is_tried_again(void **state)
{
    (void)state;
    struct source s;
    char text[128];
    snprintf(text, sizeof text, "hosts = \"qemu+unix:///system?socket=%s/none\";", dir);
    assert_int_equal(try_open(&s, text), AS_OK);
    for (int poll = 0; poll < 2; poll++) {
        int rc = as_source_libvirt.poll(s.self, as_clock_monotonic() + AS_MINUTE, &s.samples, &s.err);
        assert_int_equal(rc, AS_EAGAIN);
        assert_int_equal(s.samples.count, 0);
    }
    close_source(&s);
}

/* --- the inventory --------------------------------------------------------------------------------------- */

static int make_inventory(void **state)
{
    (void)state;
    char path[64];
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/node.xml", dir);
    snprintf(uri, sizeof uri, "test://%s", path);
    FILE *f = fopen(path, "we");
    if (!f || fputs(inventory, f) < 0)
        return -1;
    return fclose(f);
}

static int remove_inventory(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/node.xml", dir);
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_domain_has_several_of_is_added_up),
        cmocka_unit_test(what_is_not_told_or_no_number_is_missing),
        cmocka_unit_test(memory_is_what_the_guest_cannot_give_away),
        cmocka_unit_test(the_first_poll_has_no_rates_and_the_second_has),
        cmocka_unit_test(a_domain_started_anew_has_no_rate_once),
        cmocka_unit_test(a_guest_that_tells_nothing_new_for_a_minute_is_not_believed),
        cmocka_unit_test(only_running_domains_with_our_mark_under_their_own_name_are_measured),
        cmocka_unit_test(groups_that_are_not_named_are_left_out),
        cmocka_unit_test(wrong_options_are_refused_offline),
        cmocka_unit_test(a_host_that_is_not_there_is_tried_again),
    };
    return cmocka_run_group_tests(tests, make_inventory, remove_inventory);
}
