/* history: journal rows to JSON. Reads only. */
#include "history.h"
#include "../loop/report.h"

#define DECISION_SLACK (2 * AS_MINUTE) /* an unchanged decision is noted once a minute */

static int add_event(void *arg, const struct journal_event *v)
{
    cJSON *o = cJSON_CreateObject();
    report_put_time(o, "time", v->wall);
    cJSON_AddNumberToObject(o, "id", (double)v->id);
    cJSON_AddStringToObject(o, "group", v->group);
    cJSON_AddStringToObject(o, "instance", v->instance);
    cJSON_AddStringToObject(o, "kind", v->kind);
    cJSON_AddStringToObject(o, "text", v->text);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

static int add_decision(void *arg, const struct journal_decision *d)
{
    cJSON *o = cJSON_CreateObject(), *last = cJSON_Parse(d->last_json ? d->last_json : d->json);
    report_put_time(o, "time", d->wall);
    report_put_time(o, "last", d->last_wall);
    cJSON_AddNumberToObject(o, "seen", (double)d->repeats);
    cJSON_AddStringToObject(o, "group", d->group);
    cJSON_AddNumberToObject(o, "current", d->current);
    cJSON_AddNumberToObject(o, "desired", d->desired);
    cJSON_AddStringToObject(o, "outcome", d->outcome);
    if (last)
        cJSON_AddItemToObject(o, "decision", last);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

cJSON *history_json(struct journal *j, const char *group, int64_t since_wall, int limit, struct as_error *err)
{
    cJSON *o = cJSON_CreateObject();
    cJSON *events = cJSON_AddArrayToObject(o, "events"), *decisions = cJSON_AddArrayToObject(o, "decisions");
    int rc = o ? journal_each_event(j, group, since_wall, limit, add_event, events, err)
               : as_fail(err, AS_ENOMEM, "out of memory");
    if (rc == AS_OK)
        rc = journal_each_decision(j, group, since_wall, INT64_MAX, limit, add_decision, decisions, err);
    if (rc != AS_OK) {
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}

struct pick {
    int64_t at;
    cJSON *found;
};

static int pick_newest(void *arg, const struct journal_decision *d)
{
    struct pick *p = arg;
    p->found = cJSON_Parse(d->last_json ? d->last_json : d->json);
    return 1;
}

/* Newest first: the first row that had begun by then. Its last JSON is nearer when the row was repeated. */
static int pick_decision(void *arg, const struct journal_decision *d)
{
    struct pick *p = arg;
    bool late = d->last_json && p->at - d->wall > d->last_wall - p->at;
    p->found = cJSON_Parse(late ? d->last_json : d->json);
    return 1;
}

cJSON *history_decision(struct journal *j, const char *group, int64_t at_wall, as_time interval,
                        struct as_error *err)
{
    struct pick p = { at_wall, NULL };
    as_time slack = DECISION_SLACK + 2 * interval;
    int rc = at_wall == 0
                 ? journal_each_decision(j, group, 0, INT64_MAX, 1, pick_newest, &p, err)
                 : journal_each_decision(j, group, at_wall - slack, at_wall, 1, pick_decision, &p, err);
    if (rc == AS_OK && !p.found)
        as_fail(err, AS_ENOENT, "no decision of group '%s' is recorded%s", group,
                at_wall ? " for that time: `autoscale history` shows when it ran" : "");
    return p.found;
}
