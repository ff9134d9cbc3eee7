/* The option tables of every driver and policy of the program: complete, consistent, fit to be printed. A
 * table that breaks a rule here would parse wrongly or document nonsense. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../controller/config/config.h"
#include "../../controller/config/schema.h"
#include "../../controller/config/settings_internal.h"
#include "../../controller/loop/decide.h"
#include "autoscale/registry.h"

static bool is_name(const char *name)
{
    return islower((unsigned char)*name) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name) &&
           strlen(name) < AS_NAME_MAX;
}

static void check_help(const char *where, const char *name, const char *help)
{
    if (!help || !*help)
        fail_msg("%s: %s has no help", where, name);
    if (help[strlen(help) - 1] == '.')
        fail_msg("%s: the help of %s ends with a full stop", where, name);
}

static void check_table(const char *where, const struct as_option *options);

static void check_option(const char *where, const struct as_option *o)
{
    struct settings_value v;
    if (!is_name(o->name))
        fail_msg("%s: '%s' is no name for an option", where, o->name);
    check_help(where, o->name, o->help);
    if (o->type == AS_OPT_CHOICE && (!o->choices || !o->choices[0]))
        fail_msg("%s: %s has no choices", where, o->name);
    if (o->type == AS_OPT_LIST && !o->sub)
        fail_msg("%s: %s has no table for its blocks", where, o->name);
    if (o->flags & AS_OPT_REQUIRED && o->def)
        fail_msg("%s: %s is required and has a default", where, o->name);
    assert_int_equal(settings_default(o, &v),
                     AS_OK); /* aborts when the default does not parse or is out of range */
    bool chosen = o->type != AS_OPT_CHOICE || !o->def;
    for (size_t i = 0; !chosen && o->choices[i]; i++)
        chosen = strcmp(o->choices[i], o->def) == 0;
    if (!chosen)
        fail_msg("%s: the default of %s is none of its choices", where, o->name);
    settings_value_clear(&v);
    if (o->sub)
        check_table(where, o->sub);
}

static void check_table(const char *where, const struct as_option *options)
{
    for (const struct as_option *o = options; o->name; o++) {
        check_option(where, o);
        for (const struct as_option *k = options; k != o; k++)
            if (strcmp(k->name, o->name) == 0)
                fail_msg("%s: %s stands twice in the table", where, o->name);
    }
}

/* A driver's option of the name of a common one could never be set. */
static void check_shadow(const char *where, const struct as_option *own, const struct as_option *common)
{
    for (const struct as_option *o = own; o->name; o++)
        for (const struct as_option *c = common; c->name; c++)
            if (strcmp(o->name, c->name) == 0)
                fail_msg("%s: %s is already an option of every such block", where, o->name);
}

static void check_named_option(const char *where, const struct as_option *options, const char *name,
                               enum as_option_type type)
{
    for (const struct as_option *o = options; name && o->name; o++)
        if (strcmp(o->name, name) == 0 && o->type == type)
            return;
    if (name)
        fail_msg("%s: there is no option %s of the right type", where, name);
}

static void common_blocks_are_consistent(void **state)
{
    (void)state;
    for (const struct schema_block *b = schema_blocks; b->title; b++)
        check_table(b->title, b->options);
}

static void source_drivers_are_consistent(void **state)
{
    (void)state;
    for (const struct as_source_driver *const *d = as_source_drivers; *d; d++) {
        check_table((*d)->name, (*d)->options);
        check_shadow((*d)->name, (*d)->options, schema_source);
        check_named_option((*d)->name, (*d)->options, (*d)->endpoints, AS_OPT_STRINGS);
        check_named_option((*d)->name, (*d)->options, (*d)->user_series, AS_OPT_MAP);
        check_help((*d)->name, "the driver", (*d)->summary);
        for (const struct as_series_doc *s = (*d)->series; s && s->name; s++) {
            if (!is_name(s->name) || !s->unit)
                fail_msg("%s: series %s has a bad name or no unit", (*d)->name, s->name);
            check_help((*d)->name, s->name, s->help);
        }
    }
}

static void compute_and_balancer_drivers_are_consistent(void **state)
{
    (void)state;
    for (const struct as_compute_driver *const *d = as_compute_drivers; *d; d++) {
        check_table((*d)->name, (*d)->options);
        check_shadow((*d)->name, (*d)->options, schema_compute);
        check_named_option((*d)->name, (*d)->options, (*d)->endpoints, AS_OPT_STRINGS);
        check_help((*d)->name, "the driver", (*d)->summary);
    }
    for (const struct as_balancer_driver *const *d = as_balancer_drivers; *d; d++) {
        check_table((*d)->name, (*d)->options);
        check_shadow((*d)->name, (*d)->options, schema_balancer);
        check_named_option((*d)->name, (*d)->options, (*d)->endpoints, AS_OPT_STRINGS);
        check_help((*d)->name, "the driver", (*d)->summary);
    }
}

static void policy_types_are_consistent(void **state)
{
    (void)state;
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++) {
        check_table((*t)->name, (*t)->options);
        check_shadow((*t)->name, (*t)->options, schema_policy);
        check_help((*t)->name, "the policy", (*t)->summary);
    }
}

static const struct as_policy_type *type_of(const char *name)
{
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++)
        if (strcmp((*t)->name, name) == 0)
            return *t;
    fail_msg("there is no policy type %s", name);
    return NULL;
}

/* The lints look at policies by these names; a rename would silence them. */
static void every_input_of_a_policy_fits_into_its_record(void **state)
{
    (void)state;
    for (const struct as_policy_type *const *t = as_policy_types; *t; t++) {
        int metrics = 0;
        for (const struct as_option *o = (*t)->options; o && o->name; o++)
            metrics += o->type == AS_OPT_METRIC;
        assert_in_range(metrics, 0, DECIDE_INPUTS_MAX);
    }
}

static void what_the_lints_look_at_exists(void **state)
{
    (void)state;
    check_named_option("target", type_of("target")->options, "tolerance", AS_OPT_PERCENT);
    check_named_option("ceiling", type_of("ceiling")->options, "capacity", AS_OPT_NUMBER);
    check_named_option("ceiling", type_of("ceiling")->options, "per_instance", AS_OPT_NUMBER);
    check_named_option("ceiling", type_of("ceiling")->options, "reserve", AS_OPT_NUMBER);
    const struct as_option *step = type_of("step")->options;
    check_named_option("step", step, "metric", AS_OPT_METRIC);
    check_named_option("step", step, "threshold", AS_OPT_NUMBER);
    check_named_option("step", step, "steps", AS_OPT_LIST);
    while (strcmp(step->name, "steps") != 0)
        step++;
    check_named_option("step", step->sub, "from", AS_OPT_NUMBER);
    check_named_option("step", step->sub, "to", AS_OPT_NUMBER);
    check_named_option("step", step->sub, "change", AS_OPT_STRING);
}

static void recalls(const char *driver, const char *written)
{
    static const struct as_registry registry = { as_source_drivers, as_compute_drivers, as_balancer_drivers,
                                                 as_policy_types };
    struct cfg_balancer was = { 0 }, is = { 0 };
    struct as_error err = { 0 };
    if (config_balancer_recall(&registry, driver, written, &was.driver, &was.settings, &err) != AS_OK)
        fail_msg("%s: %s", driver, err.msg);
    char *text = config_balancer_text(&was);
    assert_non_null(text);
    if (config_balancer_recall(&registry, driver, text, &is.driver, &is.settings, &err) != AS_OK)
        fail_msg("%s: what was remembered cannot be read again: %s: %s", driver, err.msg, text);
    char *again = config_balancer_text(&is);
    assert_string_equal(text, again);
    assert_ptr_equal(was.driver, is.driver);
    assert_string_equal(as_settings_str(was.settings, was.driver->pool),
                        as_settings_str(is.settings, is.driver->pool));
    free(text);
    free(again);
    as_settings_free(was.settings);
    as_settings_free(is.settings);
}

/* A balancer that left the configuration is bound from the journal by what was written there. */
static void a_balancer_s_settings_are_remembered_as_they_were(void **state)
{
    (void)state;
    recalls("haproxy",
            "address = [ \"/run/ha\\\"proxy/a.sock\", \"10.0.0.1:9999\" ]; backend = \"web\"; maxconn = 64; "
            "check = false; inter = \"1500ms\"; check_port = 8081;");
    recalls("nginx",
            "include = \"/etc/nginx/a\\\\b.conf\"; upstream = \"web\"; algorithm = \"hash\"; hash_key = "
            "\"$request_uri\"; zone = \"2MiB\"; fail_timeout = \"1m30s\"; max_fails = 0;");
    struct cfg_balancer b = { 0 };
    struct as_error err = { 0 };
    struct as_registry none = { as_source_drivers, as_compute_drivers, as_balancer_drivers, as_policy_types };
    assert_int_equal(config_balancer_recall(&none, "lvs", "", &b.driver, &b.settings, &err), AS_EUNSUP);
    assert_int_equal(config_balancer_recall(&none, "haproxy", "address = ", &b.driver, &b.settings, &err),
                     AS_EINVAL);
    assert_null(b.settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_blocks_are_consistent),
        cmocka_unit_test(source_drivers_are_consistent),
        cmocka_unit_test(compute_and_balancer_drivers_are_consistent),
        cmocka_unit_test(policy_types_are_consistent),
        cmocka_unit_test(every_input_of_a_policy_fits_into_its_record),
        cmocka_unit_test(what_the_lints_look_at_exists),
        cmocka_unit_test(a_balancer_s_settings_are_remembered_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
