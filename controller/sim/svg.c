/* svg: draws a run with at most a few thousand points, whatever its length: each column shows the mean
 * of its steps, and what they span. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "svg.h"

#define WIDE    1100
#define HIGH    520
#define LEFT    64
#define RIGHT   64
#define TOP     48
#define BOTTOM  56
#define COLUMNS 972 /* WIDE - LEFT - RIGHT */
#define RUNGS   5   /* parts of the upright axes */

struct canvas {
    FILE *out;
    const struct replay *r;
    double most, most_load;
};

static double x_of(const struct canvas *c, double step)
{
    return LEFT + step / (double)c->r->count * COLUMNS;
}

static double y_of(double v, double most)
{
    return HIGH - BOTTOM - v / most * (HIGH - TOP - BOTTOM);
}

static double largest(const double *v, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

/* The end of an axis not below v whose RUNGS parts are round numbers, and whole ones where they count instances. */
static double axis_end(double v, bool whole)
{
    double part = v / RUNGS, unit = pow(10, floor(log10(part > 1e-9 ? part : 1)));
    static const double steps[] = { 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 };
    if (whole && unit < 1)
        return RUNGS;
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        if (part <= steps[k] * unit && !(whole && fmod(steps[k] * unit, 1) > 0))
            return RUNGS * steps[k] * unit;
    return RUNGS * 10 * unit;
}

/* Round times along the time axis, eight marks at most: seconds of one, and its text. */
static double time_step(double span)
{
    static const double steps[] = { 1,    2,    5,    10,    15,    30,    60,    120,    300,    600,    900,
                                    1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600 };
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        if (span / steps[k] <= 8)
            return steps[k];
    return ceil(span / 8 / 604800) * 604800;
}

static const char *time_text(double at, double step, char buf[32])
{
    bool minutes = step < 3600, days = step >= 86400;
    double unit = step < 60 ? 1 : minutes ? 60 : days ? 86400 : 3600;
    snprintf(buf, 32, "%g %s", at / unit, step < 60 ? "s" : minutes ? "min" : days ? "d" : "h");
    return buf;
}

/* Where many steps share a column: what they span, pale, so that the line of their means stays to be read. */
static void spans(const struct canvas *c, const double *v, const char *style, size_t per)
{
    fprintf(c->out, "<path %s stroke-opacity=\".25\" d=\"", style);
    for (size_t i = 0; i < c->r->count; i += per) {
        double low = v[i], high = v[i];
        for (size_t k = i; k < c->r->count && k < i + per; k++) {
            low = v[k] < low ? v[k] : low;
            high = v[k] > high ? v[k] : high;
        }
        if (high > low)
            fprintf(c->out, "M%.1f %.1fV%.1f", x_of(c, (double)i + (double)per / 2), y_of(low, c->most),
                    y_of(high, c->most));
    }
    fprintf(c->out, "\"/>\n");
}

static void stepped(const struct canvas *c, const double *v, const char *style)
{
    size_t n = c->r->count, per = n / COLUMNS + 1;
    if (per > 1)
        spans(c, v, style, per);
    fprintf(c->out, "<path %s d=\"M%.1f %.1f", style, x_of(c, 0), y_of(v[0], c->most));
    for (size_t i = 0; i < n; i += per) {
        size_t end = i + per < n ? i + per : n;
        double sum = 0;
        for (size_t k = i; k < end; k++)
            sum += v[k];
        fprintf(c->out, "H%.1fV%.1f", x_of(c, (double)i), y_of(sum / (double)(end - i), c->most));
    }
    fprintf(c->out, "H%.1f\"/>\n", x_of(c, (double)n));
}

static void load_area(const struct canvas *c)
{
    size_t n = c->r->count, per = n / COLUMNS + 1;
    fprintf(c->out, "<path class=\"load\" d=\"M%d %d", LEFT, HIGH - BOTTOM);
    for (size_t i = 0; i < n; i += per) {
        double high = 0;
        for (size_t k = i; k < n && k < i + per; k++)
            high = c->r->load[k] > high ? c->r->load[k] : high;
        fprintf(c->out, "L%.1f %.1f", x_of(c, (double)i), y_of(high, c->most_load));
    }
    fprintf(c->out, "L%.1f %dZ\"/>\n", x_of(c, (double)n), HIGH - BOTTOM);
}

/* A mark on the base line for every change of the supply: red down, green up. */
static void decisions(const struct canvas *c)
{
    size_t per = c->r->count / COLUMNS + 1;
    for (size_t i = 1; i < c->r->count; i += per) {
        double up = 0, down = 0;
        for (size_t k = i; k < c->r->count && k < i + per; k++) {
            double d = c->r->footprint[k] - c->r->footprint[k - 1];
            up += d > 0 ? d : 0;
            down -= d < 0 ? d : 0;
        }
        if (up > 0)
            fprintf(c->out, "<path class=\"up\" d=\"M%.1f %dv-5\"/>", x_of(c, (double)i), HIGH - BOTTOM + 12);
        if (down > 0)
            fprintf(c->out, "<path class=\"down\" d=\"M%.1f %dv5\"/>", x_of(c, (double)i),
                    HIGH - BOTTOM + 12);
    }
    fprintf(c->out, "\n");
}

static void axes(const struct canvas *c)
{
    double span = (double)c->r->count * c->r->step_s, step = time_step(span);
    char at[32];
    for (int k = 0; k <= RUNGS; k++) {
        double y = y_of(k, RUNGS);
        fprintf(
            c->out,
            "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>"
            "<text x=\"%d\" y=\"%.1f\" class=\"dim\">%g</text>\n",
            LEFT, y, WIDE - RIGHT, LEFT - 8, y + 4, c->most * k / RUNGS, WIDE - RIGHT + 8, y + 4,
            c->most_load * k / RUNGS);
    }
    for (int k = 0; k * step <= span * 1.0001; k++)
        fprintf(c->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                LEFT + COLUMNS * k * step / span, HIGH - 22, time_text(k * step, step, at));
    fprintf(
        c->out,
        "<text x=\"16\" y=\"%d\" transform=\"rotate(-90 16 %d)\" text-anchor=\"middle\">instances</text>\n",
        HIGH / 2, HIGH / 2);
    fprintf(c->out,
            "<text x=\"%d\" y=\"%d\" transform=\"rotate(90 %d %d)\" text-anchor=\"middle\" class=\"dim\">"
            "requests a second</text>\n",
            WIDE - 10, HIGH / 2, WIDE - 10, HIGH / 2);
}

static void text(FILE *out, const char *s)
{
    for (; *s; s++)
        if (*s == '<' || *s == '>' || *s == '&')
            fprintf(out, "&#%d;", *s);
        else
            fputc(*s, out);
}

static void head(const struct canvas *c, const char *title)
{
    fprintf(c->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<style>path{fill:none}.load{fill:#dbe7f5}.grid{stroke:#ddd}.demand{stroke:#"
            "d9822b;"
            "stroke-width:1.5}.supply{stroke:#1f5fa8;stroke-width:2}.up{stroke:#2a8a3a;stroke-width:1.5}."
            "down{stroke:"
            "#c0392b;stroke-width:1.5}.dim{fill:#5b7ea6}</style>\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"22\" font-size=\"15\" font-weight=\"bold\">",
            WIDE, HIGH, LEFT);
    text(c->out, title);
    fprintf(c->out,
            "</text>\n<g transform=\"translate(%d 34)\"><rect y=\"-6\" width=\"14\" height=\"8\" "
            "fill=\"#dbe7f5\"/>"
            "<text x=\"20\" y=\"2\">load</text><path class=\"demand\" d=\"M80 -2h20\"/><text x=\"106\" "
            "y=\"2\">demand"
            "</text><path class=\"supply\" d=\"M180 -2h20\"/><text x=\"206\" y=\"2\">supply</text>"
            "<path class=\"up\" d=\"M280 2v-8\"/><text x=\"288\" y=\"2\">out</text><path class=\"down\" "
            "d=\"M330 -6v8\"/>"
            "<text x=\"338\" y=\"2\">in</text></g>\n",
            LEFT);
}

int svg_write(const char *path, const struct replay *r, const char *title, struct as_error *err)
{
    struct canvas c = { .r = r, .out = fopen(path, "w") };
    if (!c.out)
        return as_fail(err, AS_EIO, "%s: %s", path, strerror(errno));
    double supply = largest(r->supply, r->count), demand = largest(r->demand, r->count);
    c.most = axis_end(supply > demand ? supply : demand, true);
    c.most_load = axis_end(largest(r->load, r->count), false);
    head(&c, title);
    load_area(&c);
    axes(&c);
    stepped(&c, r->demand, "class=\"demand\"");
    stepped(&c, r->supply, "class=\"supply\"");
    decisions(&c);
    fprintf(c.out, "</svg>\n");
    bool bad = ferror(c.out) != 0;
    if (fclose(c.out) != 0 || bad)
        return as_fail(err, AS_EIO, "%s: cannot be written: %s", path, strerror(errno));
    return AS_OK;
}
