/* Chance of a simulation. Must never draw from anything but its seed. */
#include <math.h>

#include "chance.h"

struct chance chance_new(uint64_t seed, uint64_t purpose)
{
    uint64_t s = (seed + purpose * 0x9e3779b97f4a7c15u) * 6364136223846793005u + 1442695040888963407u;
    return (struct chance){ s ? s : 1 }; /* 0 would stay 0 */
}

uint64_t chance_draw(struct chance *c)
{
    c->state ^= c->state >> 12;
    c->state ^= c->state << 25;
    c->state ^= c->state >> 27;
    return c->state * 2685821657736338717u;
}

double chance_unit(struct chance *c)
{
    return ((double)(chance_draw(c) >> 11) + 0.5) / 9007199254740992.0;
}

double chance_normal(struct chance *c)
{
    double u = chance_unit(c), v = chance_unit(c);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

double chance_poisson(struct chance *c, double mean)
{
    if (mean > 500)
        return fmax(0, floor(mean + sqrt(mean) * chance_normal(c) + 0.5));
    double limit = exp(-mean), product = chance_unit(c);
    int n = 0;
    while (product > limit && n < 2000) {
        product *= chance_unit(c);
        n++;
    }
    return n;
}
