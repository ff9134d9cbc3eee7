/* What weights may go by, with the program's real drivers: the balancer's own times, or the CPU that a source
 * measures of the instances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../controller/config/config.h"

static const struct as_registry registry = { as_source_drivers, as_compute_drivers, as_balancer_drivers,
                                             as_policy_types };

#define HAPROXY "driver = \"haproxy\"; address = \"/run/h.sock\"; backend = \"web\"; "
#define NGINX   "driver = \"nginx\"; include = \"/etc/nginx/web.conf\"; upstream = \"web\"; "

static struct cfg *load(const char *balancer, char *error, size_t size)
{
    char path[] = "/tmp/autoscale-weighting-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd,
            "sources = { use = { driver = \"docker\"; }; vm = { driver = \"libvirt\"; };\n"
            "  lb = { driver = \"haproxy\"; address = \"/run/h.sock\"; }; };\n"
            "groups = { web = { min = 1; max = 2; policies = [ ];\n"
            "  compute = { driver = \"docker\"; image = \"x\"; port = 80; network = \"n\"; };\n"
            "  balancer = { %s }; }; };\n",
            balancer);
    close(fd);
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    config_load(path, &registry, &c, &problems);
    unlink(path);
    error[0] = '\0';
    for (size_t i = 0; i < problems.count && !c; i++)
        config_problem_text(&problems.items[i], error, size);
    config_problems_fini(&problems);
    return c;
}

static void what_measures_nothing_cannot_be_weighed_by(void **state)
{
    (void)state;
    static const struct {
        const char *balancer, *want; /* NULL: accepted */
    } cases[] = {
        { HAPROXY "weighting = \"load\";", NULL },
        { HAPROXY "weighting = \"load\"; weighting_source = \"use\";", NULL },
        { NGINX "weighting = \"load\"; weighting_source = \"vm\";", NULL },
        { NGINX "weighting = \"load\";",
          "weighting: balancer driver nginx does not measure its members; write "
          "weighting = \"even\", or name a weighting_source" },
        { HAPROXY "weighting = \"load\"; weighting_source = \"us\";",
          "weighting_source: there is no source 'us'" },
        { HAPROXY "weighting = \"load\"; weighting_source = \"lb\";",
          "weighting_source: source 'lb' (haproxy) does not measure the CPU of instances; docker and libvirt "
          "do" },
        { HAPROXY "weighting_source = \"use\";",
          "weighting_source: has no meaning without weighting = \"load\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char error[1024];
        struct cfg *c = load(cases[i].balancer, error, sizeof error);
        if (!cases[i].want != (c != NULL) || (cases[i].want && !strstr(error, cases[i].want)))
            fail_msg("%s: '%s'", cases[i].balancer, error);
        config_free(c);
    }
}

static void the_source_is_part_of_what_a_reload_compares(void **state)
{
    (void)state;
    char error[1024];
    struct cfg_diff diff = { 0 };
    struct cfg *a = load(HAPROXY "weighting = \"load\";", error, sizeof error);
    struct cfg *b = load(HAPROXY "weighting = \"load\"; weighting_source = \"use\";", error, sizeof error);
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(a->groups[0].balancer.weigh_source, "");
    assert_string_equal(b->groups[0].balancer.weigh_source, "use");
    assert_string_not_equal(a->groups[0].canon_balancer, b->groups[0].canon_balancer);
    assert_int_equal(config_diff(a, b, &diff), AS_OK);
    assert_int_equal(diff.count, 1);
    assert_string_equal(diff.lines[0], "group 'web': balancer: weighting_source none -> use");
    config_diff_fini(&diff);
    config_free(a);
    config_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_measures_nothing_cannot_be_weighed_by),
        cmocka_unit_test(the_source_is_part_of_what_a_reload_compares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
