/* dry: what a dry run would do now, for the log: the steps of the plan for the count just decided, said again only
 * when they change. It plans on a copy of the wanted count and leaves the group as it is. */
#include <stdio.h>

#include "../runtime/log.h"
#include "plan.h"

/* FNV-1a over what the steps are, not over their reasons, which may count seconds. */
static uint32_t mark_step(uint32_t h, const struct step *s)
{
    const char *id = s->inst ? s->inst->id : "new";
    h = (h ^ (uint32_t)s->kind) * 16777619u;
    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 16777619u;
    return h;
}

void dry_say(struct group *g)
{
    static struct plan plan; /* scratch, kept for its memory */
    uint32_t mark = 2166136261u;
    int kept = g->desired;
    g->desired = g->decision.desired;
    plan_group(g, g->engine->now, &plan);
    g->desired = kept;
    for (size_t k = 0; k < plan.count; k++)
        mark = mark_step(mark, &plan.items[k]);
    bool news = mark != g->dry_said && (plan.count > 0 || g->dry_said != 0);
    g->dry_said = mark;
    for (size_t k = 0; news && k < plan.count; k++) {
        const struct step *s = &plan.items[k];
        log_info(g->cfg->name, "[dry run] would %s %s: %s", step_name(s->kind),
                 s->inst ? s->inst->id : "a new instance", s->why);
    }
    if (news && plan.count == 0)
        log_info(g->cfg->name, "[dry run] nothing is left to do");
    if (news && *plan.blocked)
        log_info(g->cfg->name, "[dry run] launches would wait: %s", plan.blocked);
}
