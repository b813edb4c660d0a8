/* plot.h: drawings for a page: text, axes, and names that look for a free place. */
#ifndef CONVGEN_PLOT_H
#define CONVGEN_PLOT_H

#include "cli.h"

void plot_escaped(cg_buffer *b, const char *text);
void plot_shortened(cg_buffer *b, const char *text, size_t most); /* without its middle where it is longer */
void plot_text_at(cg_buffer *b, double x, double y, const char *anchor, const char *text);

typedef struct plot_axis {
    double low, high, from, to; /* logarithmic; places of both ends */
} plot_axis;
plot_axis plot_axis_around(double least, double most, double from, double to); /* whole decades around the values */
double plot_place(const plot_axis *a, double value);
/* A line and a number for each decade; times: of nanoseconds. */
void plot_decades_across(cg_buffer *b, const plot_axis *x, double top, double bottom, bool times);
void plot_decades_up(cg_buffer *b, const plot_axis *y, double left, double right, bool times);

/* What covers the drawing already. */
typedef struct plot_spot {
    double x, y, half_width, half_height;
} plot_spot;
typedef struct plot_spots {
    plot_spot *at;
    int count;
} plot_spots;
/* The name of a line at height y stands over or below it, as far to the right as it covers nothing; at the right end when there is no such place. */
void plot_name_line(cg_buffer *b, const plot_axis *x, const plot_axis *y, double at, const char *name, plot_spots *taken);
/* A number stands at one of the corners of its dot, where it covers no dot and no other number; else nowhere. */
void plot_number_dot(cg_buffer *b, int number, double x, double y, plot_spots *taken);

#endif
