/* An order as a shopper sends it: JSON in, checked values out. Pure: no I/O, no clock. */
#ifndef SHOP_ORDERFORM_H
#define SHOP_ORDERFORM_H

#include <stddef.h>
#include <stdint.h>

#define ORDER_ID_MAX       9007199254740991 /* 2^53 - 1: the largest id that survives a JSON double */
#define ORDER_QUANTITY_MAX 1000

struct order {
    int64_t user_id, product_id; /* 1 .. ORDER_ID_MAX */
    int quantity;                /* 1 .. ORDER_QUANTITY_MAX */
};

struct order_problem {
    char field[40]; /* "" when the body as a whole is wrong */
    char text[160]; /* one sentence, may hold bytes of the field's name: escape it when printing JSON */
};

/* Reads {"user_id":N,"product_id":N,"quantity":N}: all three, nothing else, whole numbers in range. `body` must
 * have a NUL at body[length]. 0 and *out filled, or -1 and *problem filled with *out untouched. */
int order_parse(const char *body, size_t length, struct order *out, struct order_problem *problem);

#endif
