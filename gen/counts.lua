-- counts.lua: how much the tiles of a contraction read and begin, for cost.lua's tallies: closed formulas of its axes.
--
-- Shared by families whose tiles gather, or sum over blocks of pixels; what a step of a gathering tile is they count
-- themselves.
local cut = require "tiles"
local parts = require "parts"
local reduce = require "reduce"
local counts = {}

-- Sums over the phases of an axis: outputs; pairs of an output and a tap that it sees; inputs that phases read, and
-- that any reads.
local function of_axis(axes)
  local c = { outputs = 0, seen = 0, read = 0 }
  for _, axis in ipairs(axes) do
    c.outputs, c.seen = c.outputs + axis.outputs, c.seen + cut.seen(axis)
    c.read = c.read + math.min(axis.inputs, axis.outputs * axis.taps)
  end
  c.once = math.min(axes[1].inputs, c.read)
  return c
end

-- Of the axes d, h and w; rows: of outputs, seen: pairs of one and a row of taps, window: rows of input that one sees.
function counts.of(axes)
  local c = { d = of_axis(axes[1]), h = of_axis(axes[2]), w = of_axis(axes[3]) }
  c.rows, c.seen, c.window = c.d.outputs * c.h.outputs, c.d.seen * c.h.seen, c.h.seen / c.h.outputs
  return c
end

-- Blocks of at most `rows` outputs of the phases of an axis.
function counts.blocks(axes, rows)
  local sum = 0
  for _, axis in ipairs(axes) do sum = sum + (axis.outputs + rows - 1) // rows end
  return sum
end

---- tiles that gather ------------------------------------------------------------------------------------------------

-- The input: `times` of them in an image; chunk, pitch: bytes that stand together, and to the next ones; units: chunks
-- of a row that are read, once: and that are there; passes: of all tiles over it. Between two uses pass `first` bytes
-- of another run's, `next` until the next pass, and `panel` of weights. waits: see tally.lua.
function counts.input(t, s, o)
  local d, h, times = s.counts.d, s.counts.h, o.times * s.p.batch
  local once = d.once * h.once * o.once
  local function read(n, own, others, fetched)
    t:read(times * n, { chunk = o.chunk, pitch = o.pitch, own = own, others = others, fetched = fetched,
      waits = o.waits })
  end
  read(once, once * o.chunk, o.first, o.fetched)
  read(o.passes * d.read * h.read * o.units - once, o.next, o.panel)
  read(o.passes * (s.counts.seen - d.read * h.read) * o.units, s.counts.window * o.units * o.chunk, o.panel)
end

-- Panels of weights: `all` passes of `panel` bytes, `first` of which after `far` bytes of something else, the others
-- after `near`.
function counts.panels(t, o)
  local function read(n, own, others)
    t:read(n, { chunk = o.panel, pitch = o.panel, own = own, others = others, fetched = o.fetched })
  end
  read(o.first, o.far)
  read(math.max(o.all - o.first, 0), o.panel, o.near)
end

-- Cycles of the thread with the most of equal tasks, and of packing.
function counts.shared(t, p, tasks, packed)
  t:tasks(tasks)
  local cycles = t:cycles() * ((tasks + p.threads - 1) // p.threads) / tasks
  return cycles + (p.weights == "changing" and t.m.pack(parts.weight_bytes(p), packed) / p.threads or 0)
end

---- sums over blocks of output pixels --------------------------------------------------------------------------------

-- Pixels of a block at most.
function counts.block(p)
  local rows, columns = reduce.block_size(p)
  return rows * columns
end

-- n kernels, each with rows x vectors sums over all pixels (crossing: lines that a vector lies in; looped: one after
-- the other in one call). lanes, rows: what its operands read of a pixel: {bytes, pitch, times, all: bytes of all
-- kernels' of it; of lanes those that pass from one to the next; of rows waits, see tally.lua}.
function counts.sums(t, p, n, tile, lanes, rows)
  local block, pixels, m, v = counts.block(p), n * parts.pixels(p, p.output), tile.rows, tile.vectors
  t:steps(pixels, m * v, m + v * (tile.crossing or 1), m * v)
  if tile.looped then t:loops(pixels / block) else t:calls(pixels / block) end
  if block > 1 or not tile.looped then t:loops(pixels / math.min(p.output[3], reduce.block)) end
  local fresh, times, lane_times = math.min(1, rows.bytes / 64), rows.times or 1, lanes.times or 1
  local held, kept = block * times * 64, block * lane_times * math.max(lanes.all or lanes.bytes, 64)
  t:read(pixels * lane_times, { chunk = lanes.bytes, pitch = lanes.pitch, own = kept, others = held })
  local walk = { chunk = rows.bytes, pitch = rows.pitch, own = held, others = kept, waits = rows.waits }
  t:read(pixels * times * (1 - fresh), walk)
  walk.own = block * (rows.all or 64)
  t:read(pixels * times * fresh, walk)
end

return counts
