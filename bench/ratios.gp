# Times faster than the best direct peer, a bar a layer, a panel a run. Needs: data, out, blocks.
set terminal svg size 1400, 420 * blocks font "sans,11" background "white"
set output out
set multiplot layout blocks, 1
set style fill solid 0.8 noborder
set boxwidth 0.8
set xtics rotate by -60 left font ",8"
set ytics 0.5
set yrange [0:*]
set rmargin 14
set grid ytics
set ylabel "times faster"
set key top left noautotitle
do for [i = 0:blocks - 1] {
  plot data index i skip 0 using 2:xtic(1) with boxes lc rgb "#4477aa" title columnheader(1), 1 lc rgb "black" dt 2
}
unset multiplot
