-- direct_cost.lua: what direct's schedules cost: the steps and stores of their tiles, and the lines that these read.
local parts = require "parts"
local cut = require "tiles"
local counts = require "counts"
local copies = require "rewrite/gather"
local gathering = require "families/direct_gather"
local planes = require "rewrite/planes"
local lanes = require "rewrite/lanes"
local window = require "rewrite/window"
local direct_cost = {}

local pixels_of, activations = parts.pixels, parts.activation_bytes

---- forward and backward data -----------------------------------------------------------------------------------------

-- Counts the steps of all rows for a run of column tiles; answers how often its panels are read.
local function count_steps(t, s, schedule, run)
  local c, v, pieces, times = s.counts, run.tile.vectors, 0, s.p.batch * s.apart * run.count
  for _, axis in ipairs(s.axes[3]) do
    for _, row in ipairs(axis.taps > 0 and gathering.rows_of(s, axis, schedule.pixels) or {}) do
      pieces = pieces + row.count
      if schedule.groups then
        local fmas, loads = lanes.count(s, axis, row.variant, run.tile, s.lanes)
        t:steps(times * c.seen * row.count, fmas, loads, fmas)
        t:loops(times * c.seen * row.count)
        t:crowds(times * c.seen * row.count, row.variant.size, axis.step * s.from.w * s.size)
      end
      for _, segment in ipairs(schedule.groups and {} or row.variant.segments) do
        local rows, n = segment.last - segment.first + 1, times * c.seen * row.count
        t:steps(n * segment.taps * s.from.channels, rows * v, rows + v, rows * v)
        t:crowds(n * segment.taps * s.from.channels, rows, axis.step * s.from.w * s.size)
        t:loops(n)
      end
    end
  end
  t:calls(times * c.rows * pieces)
  return times * c.seen / (s.p.kernel[1] * s.p.kernel[2]) * pieces
end

-- Counts what a run of column tiles stores.
local function count_stores(t, s, schedule, run)
  local c, tile = s.counts, run.tile
  local outputs = s.p.batch * s.apart * run.count * c.rows * c.w.outputs
  local partial = tile.last < tile.width // tile.vectors and 1 or 0
  local all = s.planes and s.planes.scratch or pixels_of(s.p, s.to.size) * s.to.all * s.size
  t:stores(outputs * (tile.vectors - partial), outputs * partial)
  t:write(outputs, tile.channels * s.size, s.to.w * s.size, all, schedule.stream)
end

-- Tasks, how often panels come from afar, and what passes until they do, until a run reads the input again, and the
-- next column tile: by bands in scratch, by tasks that pass through all column tiles, or by column tiles.
local function order_of(s, schedule, tiles, packed)
  local c, chunk, p = s.counts, s.chunk, s.p
  local tasks = p.batch * s.apart * c.d.outputs * counts.blocks(s.axes[2], schedule.rows)
  local all, window, group = activations(p) + packed, c.window * c.w.read * chunk, packed / s.apart
  if s.planes then
    local scratch = s.planes.scratch
    return { tasks = tasks * s.planes.splits, panels = tasks * tiles, far = group + scratch, first = scratch,
      next = scratch }
  elseif schedule.across then
    return { tasks = tasks * tiles, panels = tasks * tiles, far = group + window, first = all, next = window }
  end
  local image = p.batch * c.d.once * c.h.once * c.w.once * chunk
  return { tasks = tasks * tiles * #s.axes[3], panels = s.apart * tiles, far = all, first = all, next = image }
end

-- Counts the lines of weights and input for `tiles` column tiles, whose panels of `width` are read `often` times.
local function count_lines(t, s, schedule, order, tiles, panel)
  local c, p, chunk, pitch, shared = s.counts, s.p, s.chunk, s.from.w * s.size, schedule.groups
  counts.panels(t, { first = order.panels, all = order.often, panel = panel, far = order.far,
    near = schedule.pixels * chunk, fetched = schedule.fetch })
  counts.input(t, s, { times = shared and tiles or p.groups, chunk = chunk, pitch = pitch, units = c.w.read,
    once = c.w.once, passes = shared and 1 or tiles, first = order.first, next = order.next, panel = panel,
    fetched = schedule.across })
  local again = p.batch * s.apart * tiles * c.seen * (c.w.seen - c.w.read) -- the taps of a row
  t:read(again, { chunk = chunk, pitch = pitch, own = schedule.pixels * chunk, others = panel / s.taps })
end

-- Counts what tasks move together or lay out before their tiles are computed.
local function count_moves(t, s, schedule, order, tiles)
  local p, c, all = s.p, s.counts, activations(s.p)
  if schedule.window then
    window.plan(s, schedule.rows)
    local n = (schedule.groups and tiles or p.groups) * window.pixels(s)
    t:read(n, { chunk = s.chunk, pitch = s.source.w * s.size, own = c.d.once * c.h.once * c.w.once * s.chunk,
      others = order.first })
    t:stores(n * s.chunk / (s.lanes * s.size))
    t:loops(n)
    order.first, order.next = s.scratch, s.scratch
  end
  if s.planes then
    t:read(1, { chunk = all, pitch = all, own = all, others = order.packed })
    t:turns(p.batch * p.groups * planes.moved(s) * s.size / 16)
  end
  local copied = schedule.copies and gathering.copied_bytes(p)
  if copied then t:copy(1, { chunk = copied, pitch = copied, own = all }) end
end

-- whole: of the problem; s: of what its tiles see.
function direct_cost.gathering(whole, s, schedule)
  local p, t, runs, width, wide, often = whole.p, whole.m.tally(), gathering.columns(s, schedule, whole.target), 0, 0, 0
  s.counts = s.counts or counts.of(s.axes)
  s.apart, s.chunk = schedule.groups and 1 or p.groups, (schedule.groups or 1) * s.from.channels * s.size
  for _, run in ipairs(runs) do
    width, wide = math.max(width, run.tile.width), wide + run.count * run.tile.width
    often = often + count_steps(t, s, schedule, run)
    count_stores(t, s, schedule, run)
  end
  local rows = s.taps * s.from.channels * s.size
  local packed = rows * wide * s.apart
  local order = order_of(s, schedule, runs.all, packed)
  order.often, order.packed = often, packed
  count_moves(t, s, schedule, order, runs.all)
  count_lines(t, s, schedule, order, runs.all, rows * width)
  return counts.shared(t, p, order.tasks, packed)
end

---- backward weights --------------------------------------------------------------------------------------------------

function direct_cost.gradient(s, schedule)
  local p, t, taps, icg, size = s.p, s.m.tally(), s.taps, s.icg, s.size
  local all, pixels, block = activations(p), pixels_of(p, p.output), counts.block(p)
  local source = schedule.copies and copies.pitch(p) * size or p.ic * p.stride[3] * size
  for _, run in ipairs(cut.runs_of_columns(s.ocg, schedule.vectors, s.lanes)) do
    local n, v, bytes, pitch = p.groups * run.count, run.tile.vectors, run.tile.channels * size, p.oc * size
    for _, piece in ipairs(cut.piece_runs(icg, schedule.inputs)) do
      counts.sums(t, p, n * taps * piece.count, { rows = piece.size, vectors = v },
        { bytes = bytes, pitch = schedule.panel and bytes or pitch },
        { bytes = piece.size * size, all = icg * size, pitch = source })
    end
    local walk = { chunk = bytes, pitch = pitch, own = block * (bytes + 64), others = block * pitch }
    if schedule.panel then t:copy(n * pixels, walk) end
    t:write(n * taps * icg * pixels / block, bytes, pitch, parts.weight_bytes(p))
    t:stores(n * taps * icg * pixels / block * v)
  end
  t:read(1, { chunk = all, pitch = all, own = all, others = parts.weight_bytes(p), fetched = schedule.ahead })
  return t:cycles() / p.threads
end

return direct_cost
