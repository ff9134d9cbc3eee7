/* What the tests of hostile worlds share: chances of everything, numbers drawn from a seed, calm afterwards, and what must
 * be true then. SIM_SEEDS=N runs so many seeds, SIM_SEED=N that one. */
#ifndef TESTS_SIM_HOSTILE_H
#define TESTS_SIM_HOSTILE_H

#include "simkit.h"

static inline struct sim_params hostile_params(uint64_t seed)
{
    return (struct sim_params){ .seed = seed,
                                .session_ms = 15000,
                                .create_jitter_ms = 3000,
                                .boot_ms = 1000,
                                .boot_jitter_ms = 8000,
                                .fail_create = 0.05,
                                .unknown_create = 0.05,
                                .never_boots = 0.05,
                                .fail_poll = 0.05,
                                .fail_call = 0.05,
                                .death_per_hour = 6 };
}

/* The next number, and what it does to the load, the source and the balancer. */
static inline uint64_t hostile_draw(struct kit *k, uint64_t r)
{
    r = r * 6364136223846793005u + 1442695040888963407u;
    k->load = (double)(r >> 40) / 16777216.0 * 130;
    k->blind = (r >> 8) % 16 == 0;
    if ((r >> 24) % 23 == 0)
        sim_lose_members(k->sim);
    return r;
}

static inline const char *hostile_place(uint64_t n)
{
    static const char *const places[] = { "a", "b", "lb" };
    return places[n % 3];
}

/* One of the places hangs, or none. */
static inline void hostile_hang(struct kit *k, uint64_t r, uint64_t one_in)
{
    for (uint64_t n = 0; n < 3; n++)
        sim_hang_host(k->sim, hostile_place(n), false);
    if ((r >> 16) % one_in == 0)
        sim_hang_host(k->sim, hostile_place(r >> 20), true);
}

static inline void hostile_crash(struct kit *k, uint64_t r)
{
    if ((r >> 28) % 19 != 0)
        return;
    kit_crash(k);
    kit_boot(k);
}

/* No guarantee may break but one that begins with `allowed`; NULL: none. */
static inline void hostile_check(struct kit *k, uint64_t seed, const char *allowed)
{
    const char *broken = sim_violation(k->sim);
    if (*broken && !(allowed && strstr(broken, allowed)))
        fail_msg("seed %llu: %s", (unsigned long long)seed, broken);
}

/* Nothing fails any more; five are needed. */
static inline void hostile_calm(struct kit *k)
{
    *sim_tune(k->sim) =
        (struct sim_params){ .call_ms = 2, .create_ms = 300, .boot_ms = 500, .member_rise_ms = 1000 };
    for (uint64_t n = 0; n < 3; n++)
        sim_hang_host(k->sim, hostile_place(n), false);
    k->blind = false;
    k->load = 45;
}

/* It has found its way back: nothing is lost, five are up. One whose hour had come may be being replaced. */
static inline void hostile_converged(struct kit *k, uint64_t seed)
{
    for (int n = 0; n < 8 && sim_up(k->sim, "web") < 5; n++)
        sim_run(k->sim, sim_now(k->sim) + 15 * AS_SECOND, NULL, NULL);
    if (sim_alive(k->sim, "web") != group_footprint(web(k)) || sim_up(k->sim, "web") < 5)
        fail_msg("seed %llu: %d exist, the footprint is %d, %d are up", (unsigned long long)seed,
                 sim_alive(k->sim, "web"), group_footprint(web(k)), sim_up(k->sim, "web"));
}

static inline void hostile_seeds(uint64_t usual, void (*run)(uint64_t seed))
{
    const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
    uint64_t seeds = many ? strtoull(many, NULL, 10) : usual;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run(one ? strtoull(one, NULL, 10) : seed);
}

#endif
