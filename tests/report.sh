#!/bin/bash
# report.sh CONVGEN WORK: the page of `convgen tune --report` is whole without scripts and other files, keeps hostile names as text,
# and in Chromium no text of its drawings lies over another or outside, at any width, light or dark; the pictures stay in WORK, to be
# looked at. Exit status 77 where there is no Chromium (Debian: chromium-headless-shell, and a font), after the rest.
set -euo pipefail
convgen=$1 work=$2 source=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$work" && cd "$work" && rm -f ./*.html ./*.png
work=$PWD
export CONVGEN_STORE=$work/store CONVGEN_TUNED=$work/none
rm -f "$CONVGEN_STORE"
fail() { echo "$*"; exit 1; }

echo 'mb1ic8ih9oc8kh3ph1' > one.txt
{
    echo '--dir=FWD_B'
    echo 'mb1ic16ih12oc16kh3ph1n"<b>&amp;</b><script>alert(1)</script>"'
    echo 'mb1ic3ih9oc4kh3n"a/name/of/many/parts/as/exporters/of/models/write/them/conv_0"'
    echo 'mb1ic4ih9oc4kh1n"größe_größe_größe_größe_größe_größe"'
    for i in $(seq 57); do
        echo "--dir=$(cut -d' ' -f$((i % 3 + 1)) <<<'FWD_B BWD_D BWD_WB') --dt=f$((32 + i % 2 * 32)) mb1ic$((i % 5 * 4 + 1))ih$((i % 7 + 5))oc$((i % 3 * 8 + 4))kh$((i % 2 * 2 + 1))"
    done
} > many.txt
for page in one many; do
    limit=$([ $page = one ] || echo --seconds=0.02) # of many layers, most searches are cut short
    # shellcheck disable=SC2086 # a word or none
    "$convgen" tune $limit --batch=$page.txt --report=$page.html > $page.out
    [ "$(grep -c '<script' $page.html)" = 0 ] || fail "$page.html has a script, or a name that became one"
    ! grep -oE "(src|href)=|url\(|@import" $page.html || fail "$page.html needs another file"
    for part in Layers Roofline 'Time of each layer' Candidates 'Error against the budget' refused; do
        grep -q "$part" $page.html || fail "$page.html has no $part"
    done
done
grep -q '&lt;b&gt;&amp;amp;&lt;/b&gt;' many.html || fail "a name is not kept as text"
grep -q 'a/name/of/.*&#8230;.*conv_0 FWD_B' many.html || fail "a long name is not shortened in its middle"
[ "$(grep -c '<div class=panel>' many.html)" = 60 ] || fail "not every layer has its candidates"
# A candidate that crashes is tried and refused; what the generator refuses is neither.
mkdir -p generator && cp -r "$source/gen" "$source/templates" generator
sed -i 's/groups, src\.c, weights/groups, 1 << 30, weights/' generator/gen/families/plain.lua
CONVGEN_GEN_DIR=$work/generator "$convgen" tune --effort=exhaustive --batch=one.txt --again --report=refused.html > refused.out
grep -q '[^0-9]1 of [0-9]* tried refused' refused.html || fail "one of the candidates crashes, and the page does not say so"

# What stands twice on a page is the same: tried and refused in the table, as dots and in the list below them; the schedule that was
# chosen and its time; and no other dot of the final is faster (beyond a tie), unless the page says why.
cat > agree.awk <<'END_OF_SCRIPT'
function ns(text,   part) {
  split(text, part, " ")
  return part[1] * (part[2] == "s" ? 1e9 : part[2] == "ms" ? 1e6 : part[2] == "us" ? 1e3 : 1)
}
function wrong(text) { print FILENAME ": layer " panel ": " text; status = 1 }
/^<tr><td class=n>[0-9]+<td class=w>/ {
  n = split($0, cell, /<td[^>]*>/)
  row = cell[2]; schedule[row] = cell[6]; took[row] = cell[7]
  recalled[row] = /colspan/
  if (!recalled[row]) tried[row] = cell[n - 1] + 0; refused[row] = cell[n] + 0
}
/^<div class=panel>/ {
  panel++
  if (recalled[panel]) { if (!/nothing was tried in this run/) wrong("recalled, and was tried"); next }
  said = 0
  if (match($0, /[0-9]+ of [0-9]+ tried refused/)) {
    split(substr($0, RSTART, RLENGTH), word, " "); said = word[1]
    if (word[3] != tried[panel]) wrong(word[3] " tried below the drawing, " tried[panel] " in the table")
  }
  if (said != refused[panel]) wrong(said " refused below the drawing, " refused[panel] " in the table")
  dots = split($0, dot, /<circle /) - 1
  if (dots != tried[panel] - refused[panel]) wrong(dots " dots, " tried[panel] " tried, " refused[panel] " refused")
  best = 0
  for (i = dots + 1; i > 1; i--) {
    match(dot[i], /<title>[^<]*/); split(substr(dot[i], RSTART + 7, RLENGTH - 7), word, ", ")
    if (dot[i] ~ /^class='best'/) {
      best = ns(word[2])
      if (word[1] != schedule[panel] || word[2] != took[panel]) wrong("the green dot is " word[1] " of " word[2] ", the table has " schedule[panel] " of " took[panel])
    } else if (dot[i] ~ /^class='first'/ && ns(word[2]) < 0.99 * best && !/Why the green one/)
      wrong(word[1] " takes " word[2] ", and is not the fastest")
  }
  if (!best) wrong("no green dot")
}
END { if (panel != row) { panel = "all"; wrong(panel " panels, " row " rows") } exit status }
END_OF_SCRIPT
for page in one many refused; do
    awk -f agree.awk $page.html || fail "$page.html contradicts itself"
done
# Plain loops were timed: bars, not hollow ones.
grep -q "rect class='plain'" one.html || fail "the plain loops were not timed"

browser=$(command -v chromium || command -v chromium-headless-shell || command -v chromium-browser || command -v google-chrome) ||
    { echo "skipped: no Chromium, which takes the pictures of the page; its text was tested"; exit 77; }
look() { timeout 1800 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" "$@" 2>/dev/null; }
cat > measure.js <<'END_OF_SCRIPT'
const texts = [];
for (const svg of document.querySelectorAll('svg')) {
  const room = svg.getBoundingClientRect(), boxes = [];
  for (const t of svg.querySelectorAll('text')) {
    const box = t.getBoundingClientRect();
    if (box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1 || box.top < room.top - 1)
      texts.push('outside: ' + t.textContent);
    /* Boxes of lines have room above and below the letters. */
    const high = 0.2 * box.height, letters = {left: box.left, right: box.right, top: box.top + high, bottom: box.bottom - high};
    for (const [other, o] of boxes)
      if (Math.min(letters.right, o.right) - Math.max(letters.left, o.left) > 0.5 && Math.min(letters.bottom, o.bottom) - Math.max(letters.top, o.top) > 0.5)
        texts.push('overlap: ' + other + ' / ' + t.textContent);
    for (const c of svg.querySelectorAll('circle')) {
      const o = c.getBoundingClientRect();
      if (Math.min(letters.right, o.right) - Math.max(letters.left, o.left) > 1 && Math.min(letters.bottom, o.bottom) - Math.max(letters.top, o.top) > 1)
        texts.push('over a dot: ' + t.textContent);
    }
    boxes.push([t.textContent, letters]);
  }
}
if (document.documentElement.scrollWidth > innerWidth) texts.push('wider than the window: ' + document.documentElement.scrollWidth + ' of ' + innerWidth);
document.title = 'faults: ' + texts.length + '; ' + texts.slice(0, 5).join('; ');
END_OF_SCRIPT
for page in one many; do
    { cat $page.html; echo '<script>'; cat measure.js; echo '</script>'; } > measured.html
    for width in 1280 420; do
        title=$(look --window-size=$width,900 --dump-dom "file://$work/measured.html" | grep -o '<title>faults[^<]*' || true)
        [[ "$title" == '<title>faults: 0;'* ]] || fail "$page.html at width $width: $title"
        for scheme in 0 1; do # dark, light
            look --window-size=$width,2400 --blink-settings=preferredColorScheme=$scheme --screenshot="$work/$page-$width-$scheme.png" "file://$work/$page.html" >/dev/null
            [ "$(stat -c %s $page-$width-$scheme.png)" -gt 20000 ] || fail "the picture $work/$page-$width-$scheme.png is nearly empty"
        done
        ! cmp -s $page-$width-0.png $page-$width-1.png || fail "$page.html looks the same in dark and light"
    done
done
rm -rf profile
