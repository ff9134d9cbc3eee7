/* The past of the season model, and the verdicts on what it said. An outage or a flash crowd is kept as load and never
 * becomes a season; a forecast made or due in one is not judged, as neither proves anything about it. Must never take
 * a bin that was not measured for an empty one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "season_say.h"

#define LOSS_DAYS    0.125 /* half-lives, in days */
#define TRUST_DAYS   0.5
#define ERROR_DAYS   2.0
#define SCORE_DAYS   1.0
#define LATELY_DAYS  (1.0 / 24)
#define ODD          4.0  /* times the usual, or its part */
#define SOFT         0.02 /* of the mean of a day */
#define JUDGED_LEAST 4    /* forecasts of a day, its 4th part: before that nothing is trusted */
#define RELIVE_DAYS  7
#define ERRORS_FROM  (-3.0)
#define ERRORS_WIDTH 0.01
#define WEIGHT_MOST  1e200

#define OPENS        0.97 /* of the score of persistence: opens below, closes above 1 */
#define LATELY_OPENS 1.1
#define LATELY_ENDS  1.2
#define NOTHING      0.001 /* of the mean load of a day */

/* --- memory ------------------------------------------------------------------------------------------------------ */

int season_init(struct season *s, struct as_error *err)
{
    *s = (struct season){ .said_most = SEASON_BINS_MOST / 2 + 1 };
    s->load = calloc(SEASON_DAYS * SEASON_BINS_MOST, sizeof *s->load);
    s->odd = calloc(SEASON_DAYS * SEASON_BINS_MOST, sizeof *s->odd);
    s->said = calloc((size_t)s->said_most, sizeof *s->said);
    if (s->load && s->odd && s->said)
        return AS_OK;
    season_fini(s);
    return as_fail(err, AS_ENOMEM, "out of memory for a season");
}

void season_fini(struct season *s)
{
    free(s->load);
    free(s->odd);
    free(s->said);
    *s = (struct season){ 0 };
}

static void forget(struct season *s)
{
    for (int64_t k = 0; k < s->said_most; k++)
        s->said[k].due = INT64_MIN;
    memset(s->loss, 0, sizeof s->loss);
    s->errors = s->persists = (struct season_errors){ .next = 1 };
    s->followed = s->expected = 0;
    s->judged = s->weight = s->count = 0;
    s->score = s->score_persists = s->lately = s->lately_persists = 0;
    s->open = false;
}

static size_t slot(int64_t bin, int64_t size)
{
    int64_t k = bin % size;
    return (size_t)(k < 0 ? k + size : k);
}

static void set_newest(struct season *s, int64_t bin)
{
    s->newest = bin;
    s->head = (int64_t)slot(bin, s->capacity);
}

void season_clock(struct season *s, const struct season_rules *rules)
{
    s->bin = rules->bin;
    s->day = rules->day;
    s->tz = rules->tz;
    s->quantile = rules->quantile;
    s->per_day = rules->day / rules->bin;
    s->capacity = SEASON_DAYS * s->per_day;
    s->first = 0;
    set_newest(s, -1);
    s->lead = 1;
    s->unlived = false;
    s->mean = 0;
    forget(s);
}

int64_t season_history(const struct season *s)
{
    return s->newest - s->first + 1;
}

const struct season_said *season_for(const struct season *s, int64_t bin)
{
    const struct season_said *said = &s->said[slot(bin, s->said_most)];
    return said->due == bin ? said : NULL;
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

static double fade(double bins, double half_life_days, const struct season *s)
{
    return exp2(-bins / (half_life_days * (double)s->per_day));
}

static void errors_add(struct season_errors *d, double r, double fades)
{
    double at = rint((r - ERRORS_FROM) / ERRORS_WIDTH); /* a bin is about its value */
    int k = at < 0 ? 0 : at >= SEASON_ERRORS ? SEASON_ERRORS - 1 : (int)at;
    d->next /= fades; /* instead of fading all the newest weighs more */
    if (d->next > WEIGHT_MOST) {
        for (int b = 0; b < SEASON_ERRORS; b++)
            d->bin[b] /= WEIGHT_MOST;
        d->all /= WEIGHT_MOST;
        d->next /= WEIGHT_MOST;
    }
    d->bin[k] += d->next;
    d->all += d->next;
}

/* The error that is not passed with this probability: the next one is among n + 1, so a little further out. */
static double errors_quantile(const struct season_errors *d, double quantile)
{
    if (d->all <= 0)
        return 0;
    double want = fmin(d->all, quantile * (d->all + d->next)), below = 0;
    for (int k = 0; k < SEASON_ERRORS; k++) {
        if (below + d->bin[k] >= want * (1 - 1e-12) && d->bin[k] > 0)
            return ERRORS_FROM + ERRORS_WIDTH * (k - 0.5 + (want - below) / d->bin[k]);
        below += d->bin[k];
    }
    return ERRORS_FROM + ERRORS_WIDTH * SEASON_ERRORS;
}

static double stretch(double forecast, double soft, double error)
{
    return fmax(0, (forecast + soft) * exp(error) - soft);
}

static double pinball(double y, double q, double quantile)
{
    return y > q ? quantile * (y - q) : (1 - quantile) * (q - y);
}

/* --- verdicts ---------------------------------------------------------------------------------------------------- */

static void roll(double *mean, double value, double share)
{
    *mean += share * (value - *mean);
}

static void score(struct season *s, const struct season_said *said, double y)
{
    double mine = pinball(y, said->bound, s->quantile), theirs = pinball(y, said->persists, s->quantile);
    double slow = 1 - fade(1, SCORE_DAYS, s), fast = 1 - fade(1, LATELY_DAYS, s);
    s->weight += slow * (1 - s->weight); /* early on a plain mean */
    s->count++;
    roll(&s->score, mine, slow / s->weight);
    roll(&s->score_persists, theirs, slow / s->weight);
    roll(&s->lately, mine, fmax(fast, 1 / s->count));
    roll(&s->lately_persists, theirs, fmax(fast, 1 / s->count));
}

bool season_is_learnt(const struct season *s)
{
    return s->count >= (double)s->per_day / JUDGED_LEAST;
}

/* Opens when the season was better for about a day and is not worse now; closes as soon as it is worse over the day, or
 * much worse over the hour: where both are right to a thousandth that means nothing. */
static void gate(struct season *s)
{
    double times = s->open ? LATELY_ENDS : LATELY_OPENS, day = s->open ? 1 : OPENS;
    bool now = s->lately <= times * s->lately_persists + NOTHING * s->mean;
    s->open = season_is_learnt(s) && s->score < day * s->score_persists && now;
}

static void judge(struct season *s, const struct season_said *said, double y)
{
    double share = 1 - fade(1, LOSS_DAYS, s);
    s->judged += share * (1 - s->judged);
    for (int k = 0; k < SEASON_EXPERTS; k++)
        roll(&s->loss[k], fabs(y - said->f[k]), share / s->judged);
    if (isnan(said->season))
        return;
    double level = said->f[SEASON_LEVEL], trust = fade(1, TRUST_DAYS, s);
    s->followed = s->followed * trust + (y - level) * (said->season - level);
    s->expected = s->expected * trust + (said->season - level) * (said->season - level);
    if (s->errors.all > 0) {
        score(s, said, y);
        gate(s);
    }
    double raised = log(y + said->soft);
    errors_add(&s->errors, raised - log(said->point + said->soft), fade(1, ERROR_DAYS, s));
    errors_add(&s->persists, raised - log(said->f[SEASON_LEVEL] + said->soft), fade(1, ERROR_DAYS, s));
}

static bool is_far(const struct season *s, double y, double from)
{
    double soft = SOFT * s->mean;
    return isnan(from) || y + soft < (from + soft) / ODD || y + soft > (from + soft) * ODD;
}

/* Far from the usual at this time of day: an outage, or a crowd. What shows a second day is the new usual. */
static bool is_odd(const struct season *s, int64_t bin, double y)
{
    double usual = season_usual(s, bin);
    return !isnan(usual) && is_far(s, y, usual) && is_far(s, y, season_load(s, season_same_time(s, bin, 1)));
}

static void speak(struct season *s)
{
    struct season_said *said = &s->said[slot(s->newest + s->lead, s->said_most)];
    *said = (struct season_said){
        .made = s->newest, .due = s->newest + s->lead, .open = s->open, .soft = SOFT * s->mean
    };
    if (said->soft <= 0 || !season_experts(s, said)) {
        said->due = INT64_MIN;
        return;
    }
    said->bound = stretch(said->point, said->soft, errors_quantile(&s->errors, s->quantile));
    said->persists = stretch(said->f[SEASON_LEVEL], said->soft, errors_quantile(&s->persists, s->quantile));
}

static void hear(struct season *s, int64_t bin, double y)
{
    const struct season_said *said = season_for(s, bin);
    if (said && !isnan(y) && !season_is_odd(s, bin) && !season_is_odd(s, said->made))
        judge(s, said, y);
}

/* --- the past ---------------------------------------------------------------------------------------------------- */

/* Keeps the bin, and whether it is odd; what is between it and the newest is a gap. */
static void keep(struct season *s, int64_t bin, double load)
{
    if (season_history(s) <= 0 || bin - s->newest > s->capacity || s->newest - bin >= s->capacity) {
        s->first = bin;
        set_newest(s, bin - 1);
    }
    if (bin <= s->newest) {
        set_newest(s, bin - 1);
        s->first = s->first < bin ? s->first : bin;
    }
    while (s->newest < bin) {
        set_newest(s, s->newest + 1);
        s->load[s->head] = NAN;
        s->odd[s->head] = false;
    }
    if (s->first <= s->newest - s->capacity)
        s->first = s->newest - s->capacity + 1;
    if (isnan(load))
        return;
    s->load[s->head] = (float)fmax(0, load);
    s->odd[s->head] = is_odd(s, bin, load);
    if (!s->odd[s->head]) /* a plain mean until a day is full */
        roll(&s->mean, fmax(0, load), fmax(1 - fade(1, 1, s), 1 / (double)season_history(s)));
}

void season_recall(struct season *s, int64_t bin, double load)
{
    keep(s, bin, load);
    s->unlived = true;
}

static void relive(struct season *s)
{
    int64_t last = s->newest, from = last - RELIVE_DAYS * s->per_day + 1;
    forget(s);
    s->unlived = false;
    for (int64_t bin = from > s->first ? from : s->first; bin <= last; bin++) {
        set_newest(s, bin);
        hear(s, bin, season_load(s, bin));
        speak(s);
    }
}

void season_lead(struct season *s, int64_t lead)
{
    int64_t most = s->per_day / 2;
    lead = lead > most ? most : lead < 1 ? 1 : lead;
    if (lead == s->lead && !s->unlived)
        return;
    s->lead = lead;
    relive(s);
}

void season_push(struct season *s, int64_t bin, double load)
{
    if (s->unlived)
        relive(s);
    for (int64_t k = 0; bin <= s->newest && k < s->said_most; k++)
        if (s->said[k].made >= bin) /* the clock was set back */
            s->said[k].due = INT64_MIN;
    keep(s, bin, load);
    hear(s, bin, season_load(s, bin));
    speak(s);
}
