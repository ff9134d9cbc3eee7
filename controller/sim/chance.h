/* Chance of a simulation: a stream of numbers that a seed determines, bit for bit. Streams of different purposes are kept
 * apart, so that what one contestant does never changes what befalls another. */
#ifndef SIM_CHANCE_H
#define SIM_CHANCE_H

#include <stdint.h>

struct chance {
    uint64_t state;
};

struct chance chance_new(uint64_t seed, uint64_t purpose);
uint64_t chance_draw(struct chance *c);
double chance_unit(struct chance *c);   /* within (0, 1)                                            */
double chance_normal(struct chance *c); /* mean 0, deviation 1                                      */
double chance_poisson(struct chance *c, double mean); /* its normal limit where that is the same     */

#endif
