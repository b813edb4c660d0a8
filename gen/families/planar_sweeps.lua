-- planar_sweeps.lua: what both forms of planar's backward weights share: which outputs and taps see each other, and the
-- sweep over a row of output pixels.
--
-- Pixels at the ends of a row, where some taps of a tile lie in the padding, are written out; a tap never sees
-- another's pixels.
local sweeps = {}

sweeps.most_border = 32

-- a / b rounded up.
local function over(a, b) return -(-a // b) end

-- The outputs [from, stop) of axis i that see a tap.
function sweeps.outputs_of(p, i, tap)
  local at, stride, most = p.pad[i] - tap * p.dilation[i], p.stride[i], p.output[i]
  local function clip(output) return math.min(math.max(output, 0), most) end
  return clip(over(at, stride)), clip(over(at + p.input[i], stride))
end

-- Of the taps [first, last] those that an output of axis i sees, from the first one on: low, high; or nothing.
function sweeps.taps_of(p, i, output, first, last)
  local at, dilation = p.pad[i] - output * p.stride[i], p.dilation[i]
  local low, high = math.max(over(at, dilation), first), math.min((at + p.input[i] - 1) // dilation, last)
  if low <= high then return low - first, high - first end
end

-- The pixels of a row as the taps [first, last] of it see them: those at the ends that only some taps see, as {at, low,
-- high} (taps, from 0; at relative to `from`), and between them the pixels [from, from + count) that all see.
function sweeps.row_of(p, first, last)
  local all_from, some_stop = sweeps.outputs_of(p, 3, first)
  local some_from, all_stop = sweeps.outputs_of(p, 3, last)
  local row, ends = { from = all_from, count = math.max(all_stop - all_from, 0) }, {}
  local none = row.count == 0
  local function add(from, stop, after)
    for pixel = from, stop - 1 do
      local low, high = sweeps.taps_of(p, 3, pixel, first, last)
      if low then ends[#ends + 1] = { at = pixel, after = after, low = low, high = high } end
    end
  end
  add(some_from, none and some_stop or all_from, false)
  if none then row.from = ends[1] and ends[1].at or 0 else add(all_stop, some_stop, true) end
  for _, e in ipairs(ends) do e.at = e.at - row.from end
  row.ends = ends
  return row
end

-- How many those at the ends are, without walking along the row: the pixels that see some tap but those that see all.
function sweeps.border_of(p, first, last)
  local s, some, before = p.stride[3], 0, -1
  local function seen(k) -- the pixels [low, high] that see tap k
    local at = k * p.dilation[3] - p.pad[3]
    return math.max(-(at // s), 0), math.min((p.input[3] - 1 - at) // s, p.output[3] - 1)
  end
  for k = last, first, -1 do -- whose pixels come later and later
    local low, high = seen(k)
    some = some + math.max(high - math.max(low, before + 1) + 1, 0)
    before = math.max(before, high)
  end
  local low, high = seen(first), select(2, seen(last))
  return some - math.max(high - low + 1, 0)
end

function sweeps.key_of(row)
  local words = {}
  -- Ends behind the middle are addressed from its end, so that rows of any length share a kernel.
  for i, e in ipairs(row.ends) do
    words[i] = ("%d%s:%d-%d"):format(e.after and e.at - row.count or e.at, e.after and "+" or "", e.low, e.high)
  end
  return table.concat(words, " ")
end

-- The sweep over `rows` rows as a node of tile.lua. apart: elements between {src, diff} pixels and between their rows;
-- names: of the pointers within a row. step(at, low, high) is a node: what a pixel `at` pixels on adds to taps
-- low..high.
function sweeps.rows(rows, row, apart, last_tap, names, step)
  local node = { loop = rows, copies = { { "src", names[1] }, { "diff_dst", names[2] } },
    steps = { { "src", apart.src[2] }, { "diff_dst", apart.diff[2] } } }
  local middle = { loop = "columns", steps = { { "src", apart.src[1] }, { "diff_dst", apart.diff[1] } },
    step(0, 0, last_tap) }
  for _, e in ipairs(row.ends) do
    if e.after and middle then node[#node + 1], middle = middle, nil end
    node[#node + 1] = step(e.after and e.at - row.count or e.at, e.low, e.high)
  end
  node[#node + 1] = middle
  return node
end

return sweeps
