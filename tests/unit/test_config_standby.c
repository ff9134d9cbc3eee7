/* Warm standby in the configuration: what check refuses, what a reload says, and that it is no part of the template. */
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

static int fake_open(void *self, const struct as_settings *s, const struct as_owner *owner,
                     const char *endpoint, struct as_error *err)
{
    (void)self, (void)s, (void)owner, (void)endpoint, (void)err;
    return AS_OK;
}

static void fake_close(void *self)
{
    (void)self;
}

static int fake_park(void *self, as_time deadline, const struct as_instance *inst, struct as_error *err)
{
    (void)self, (void)deadline, (void)inst;
    return as_fail(err, AS_EUNSUP, "fake");
}

static int fake_unpark(void *self, as_time deadline, const struct as_instance *inst, struct as_instance *out,
                       struct as_error *err)
{
    (void)out;
    return fake_park(self, deadline, inst, err);
}

static const struct as_option none[] = { { 0 } };
static const struct as_compute_driver plain = {
    .name = "plain", .options = none, .open = fake_open, .close = fake_close
};
static const struct as_compute_driver suspends = { .name = "suspends",
                                                   .options = none,
                                                   .open = fake_open,
                                                   .park = fake_park,
                                                   .unpark = fake_unpark,
                                                   .close = fake_close };
static const struct as_compute_driver saves = { .name = "saves",
                                                .options = none,
                                                .open = fake_open,
                                                .park = fake_park,
                                                .save = fake_park,
                                                .unpark = fake_unpark,
                                                .close = fake_close };
static const struct as_compute_driver *const computes[] = { &plain, &suspends, &saves, NULL };
static const struct as_source_driver *const sources[] = { NULL };
static const struct as_balancer_driver *const balancers[] = { NULL };
static const struct as_policy_type *const types[] = { NULL };
static const struct as_registry registry = { sources, computes, balancers, types };

/* Group web with min = 2 and max = 6; the compute block stands on line 2. */
static struct cfg *load(const char *compute, char *text, size_t size)
{
    char path[] = "/tmp/autoscale-standby-XXXXXX", line[700];
    struct cfg *c = NULL;
    struct cfg_problems problems = { 0 };
    FILE *f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    fprintf(f, "groups = { web = { min = 2; max = 6;\n compute = { %s }; }; };\n", compute);
    assert_int_equal(fclose(f), 0);
    config_load(path, &registry, &c, &problems);
    unlink(path);
    text[0] = '\0';
    for (size_t k = 0; k < problems.count; k++)
        if (!problems.items[k].warning)
            snprintf(text + strlen(text), size - strlen(text), "%s\n",
                     strstr(config_problem_text(&problems.items[k], line, sizeof line), ": error: ") + 9);
    config_problems_fini(&problems);
    return c;
}

static struct cfg *accepted(const char *compute)
{
    char text[2000];
    struct cfg *c = load(compute, text, sizeof text);
    assert_string_equal(text, "");
    assert_non_null(c);
    return c;
}

static void refused(const char *compute, const char *want)
{
    char text[2000];
    assert_null(load(compute, text, sizeof text));
    assert_string_equal(text, want);
}

static void standby_is_off_unless_asked_for(void **state)
{
    (void)state;
    struct cfg *c = accepted("driver = \"plain\";");
    assert_int_equal(c->groups[0].compute.park, CFG_PARK_NONE);
    assert_int_equal(c->groups[0].compute.standby, 0);
    config_free(c);
    c = accepted("driver = \"suspends\"; park = \"suspend\"; standby = 4;");
    assert_int_equal(c->groups[0].compute.park, CFG_PARK_SUSPEND);
    assert_int_equal(c->groups[0].compute.standby, 4);
    config_free(c);
    config_free(accepted("driver = \"saves\"; park = \"save\"; standby = 1;"));
    config_free(accepted("driver = \"suspends\"; park = \"suspend\"; standby = 0;"));
}

static void a_driver_that_cannot_is_refused(void **state)
{
    (void)state;
    refused(
        "driver = \"plain\"; park = \"suspend\"; standby = 1;",
        "group 'web': compute (plain): park: compute driver plain cannot suspend an instance; write park = "
        "\"none\"\n");
    refused("driver = \"plain\"; park = \"save\"; standby = 1;",
            "group 'web': compute (plain): park: compute driver plain cannot save an instance; write park = "
            "\"none\"\n");
    refused("driver = \"suspends\"; park = \"save\"; standby = 1;",
            "group 'web': compute (suspends): park: compute driver suspends cannot save an instance; write "
            "park = "
            "\"suspend\"\n");
}

static void standby_that_could_never_be_is_refused(void **state)
{
    (void)state;
    refused("driver = \"suspends\"; standby = 2;", "group 'web': compute (suspends): standby: 2 instances "
                                                   "cannot be kept with park = \"none\"; write park "
                                                   "= \"suspend\"\n");
    refused(
        "driver = \"plain\"; standby = 2;",
        "group 'web': compute (plain): standby: 2 instances cannot be kept with park = \"none\"; this driver "
        "has no warm standby, leave it out\n");
    refused("driver = \"suspends\"; park = \"suspend\"; standby = 5;",
            "group 'web': compute (suspends): standby: min = 2 that serve and 5 parked ones are more than "
            "max = 6, "
            "which counts both\n");
}

static void a_change_is_said_and_makes_nothing_outdated(void **state)
{
    (void)state;
    struct cfg *a = accepted("driver = \"suspends\";");
    struct cfg *b = accepted("driver = \"suspends\"; park = \"suspend\"; standby = 3;");
    struct cfg_diff d = { 0 };
    assert_int_equal(config_diff(a, b, &d), AS_OK);
    assert_int_equal(d.count, 2);
    assert_string_equal(d.lines[0], "group 'web': compute: park none -> suspend");
    assert_string_equal(d.lines[1], "group 'web': compute: standby 0 -> 3");
    assert_string_not_equal(a->groups[0].canon, b->groups[0].canon);
    assert_string_equal(a->groups[0].compute.revision, b->groups[0].compute.revision);
    config_diff_fini(&d);
    config_free(a);
    config_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standby_is_off_unless_asked_for),
        cmocka_unit_test(a_driver_that_cannot_is_refused),
        cmocka_unit_test(standby_that_could_never_be_is_refused),
        cmocka_unit_test(a_change_is_said_and_makes_nothing_outdated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
