# Times faster than the best direct peer, a bar a layer, a panel a run, a colour a pass. Needs: data, out, blocks.
set terminal svg size 1400, 340 * blocks + 60 font "sans,12" background "white"
set output out
set multiplot layout blocks, 1
set style fill solid 0.9 noborder
set boxwidth 0.75
set xtics rotate by -60 left font ",10" nomirror scale 0
set ytics 1 nomirror
set yrange [0:*]
set rmargin 10
set border 3
set grid ytics
set palette maxcolors 3 defined (0 "#4477aa", 1 "#ee6677", 2 "#228833")
set cbrange [0:2]
unset colorbox
set ylabel "times faster"
set key outside top right horizontal
do for [i = 0:blocks - 1] {
  stats data index i using 0 nooutput
  title = system(sprintf("grep -v '^$' '%s' | grep -E '^\"[^\"]*\"$' | sed -n %dp | tr -d '\"'", data, i + 1))
  set title title
  plot [-1:STATS_records + 1] data index i skip 1 using 0:2:3:xtic(1) with boxes lc palette notitle, 1 lc rgb "black" dt 2 notitle, \
    NaN with boxes lc rgb "#4477aa" title "forward", NaN with boxes lc rgb "#ee6677" title "backward data", \
    NaN with boxes lc rgb "#228833" title "backward weights"
}
unset multiplot
