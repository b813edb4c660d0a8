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
    fetched = schedule.across, waits = shared and "line" or "page" })
  local again = p.batch * s.apart * tiles * c.seen * (c.w.seen - c.w.read) -- the taps of a row
  t:read(again, { chunk = chunk, pitch = pitch, own = schedule.pixels * chunk, others = panel / s.taps })
end

-- Counts what tasks move together or lay out before their tiles are computed.
local function count_moves(t, s, schedule, order, tiles)
  local p, c, all = s.p, s.counts, activations(s.p)
  if schedule.window then
    window.plan(s, schedule.rows)
    local n = (schedule.groups and tiles or p.groups) * window.pixels(s)
    t:copy(n, { chunk = s.chunk, pitch = s.source.w * s.size, own = c.d.once * c.h.once * c.w.once * s.chunk,
      others = order.first })
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
  local p, t, runs, wide, often = whole.p, whole.m.tally(), gathering.columns(s, schedule, whole.target), 0, 0
  s.counts = s.counts or counts.of(s.axes)
  s.apart, s.chunk = schedule.groups and 1 or p.groups, (schedule.groups or 1) * s.from.channels * s.size
  for _, run in ipairs(runs) do
    wide = wide + run.count * run.tile.width
    often = often + count_steps(t, s, schedule, run)
    count_stores(t, s, schedule, run)
  end
  local rows = s.taps * s.from.channels * s.size
  local packed = rows * wide * s.apart
  local order = order_of(s, schedule, runs.all, packed)
  order.often, order.packed = often, packed
  count_moves(t, s, schedule, order, runs.all)
  count_lines(t, s, schedule, order, runs.all, rows * wide / runs.all)
  return counts.shared(t, p, order.tasks, packed)
end

---- the same where taps are ranges ------------------------------------------------------------------------------------

-- The lines of a row that are alike, by class: {class, lines: how many, outputs, inner: those that see all taps, taps,
-- seen: pairs of an output and a tap inside}. They are looked at once for all schedules.
local function lines_of(s)
  local list, known = {}, {}
  local function add(class, axis)
    local low, high = cut.inner(axis)
    local line = { class = class, lines = 1, outputs = axis.outputs, taps = axis.taps, inner = math.max(high - low, 0),
      seen = axis.taps > 0 and cut.seen(axis) or 0 }
    local key = ("%d %d %d %d %d"):format(class.lane, line.outputs, line.taps, line.inner, line.seen)
    if known[key] then known[key].lines = known[key].lines + 1 else list[#list + 1], known[key] = line, line end
  end
  for _, class in ipairs(s.classes) do
    for _, axis in ipairs(s.fold and {} or s.axes[3]) do add(class, axis) end
    if s.fold then
      add(class, { outputs = s.fold.blocks, step = 1, offset = s.fold.before, taps = class.columns, tap_step = -1,
        inputs = s.fold.line.inputs })
    end
  end
  return list
end

-- Counts the steps of a row's line for a run of column tiles, `times`; answers tiles and pixels of it, by their taps.
local function count_line(t, s, schedule, run, line, times)
  local channels, v, m = s.from.channels, run.tile.vectors, schedule.pixels
  local tiled = line.inner >= m and line.inner or 0
  local tiles, pixels = (tiled + m - 1) // m, line.outputs - tiled
  local steps = times * tiles * line.taps * channels
  t:steps(steps, m * v, m + v, m * v)
  t:crowds(steps, m, line.class.line.step * s.from.w * s.size)
  t:steps(times * (line.seen - tiled * line.taps) * channels, v, 1 + v, v)
  t:loops(times * (tiles + pixels) * (1 + line.taps))
  return tiles + pixels
end

-- Counts the steps and stores of all rows for a run of column tiles of a class; answers how often its panels are read.
local function count_run(t, s, schedule, run, line)
  local c, p = s.counts, s.p
  local times, v = p.batch * p.groups * run.count * line.lines, run.tile.vectors
  local pieces = count_line(t, s, schedule, run, line, times * c.seen)
  t:calls(times * c.rows * (pieces + 1))
  local partial = run.tile.last < run.tile.width // v and 1 or 0
  local outputs = times * c.rows * line.outputs
  t:stores(outputs * (v - partial), outputs * partial)
  t:write(outputs, run.tile.channels * s.size, line.class.pitch * s.size,
    pixels_of(p, s.to.size) * s.to.all * s.size)
  return times * c.seen / (p.kernel[1] * p.kernel[2]) * pieces * line.taps / math.max(line.class.columns, 1)
end

-- Column tiles of all classes; how often panels are read.
local function count_classes(t, whole, s, schedule)
  local tiles, often = 0, 0
  for _, line in ipairs(s.alike) do
    for _, run in ipairs(cut.runs_of_columns(line.class.channels, schedule.vectors, whole.lanes)) do
      often = often + count_run(t, s, schedule, run, line)
    end
  end
  for _, class in ipairs(s.classes) do
    tiles = tiles + cut.runs_of_columns(class.channels, schedule.vectors, whole.lanes).all
  end
  return tiles, often
end

function direct_cost.ranges(whole, s, schedule)
  local p, t = whole.p, whole.m.tally()
  s.counts, s.alike = s.counts or counts.of(s.axes), s.alike or lines_of(s)
  s.apart, s.chunk = p.groups, s.from.channels * s.size
  local tiles, often = count_classes(t, whole, s, schedule)
  local c, columns = s.counts, parts.round_up(s.to.channels, s.fold and 1 or whole.lanes)
  local packed, all = s.taps * s.chunk * columns * p.groups, activations(p)
  local share = c.seen / (c.rows * p.kernel[1] * p.kernel[2]) -- of its panel that a row reads
  local order = { tasks = p.batch * p.groups * tiles * counts.blocks(s.axes[2], schedule.rows) * s.to.size[1],
    panels = p.groups * tiles / share, far = all + packed, first = all, often = often / share,
    next = p.batch * c.d.once * c.h.once * c.w.once * s.chunk }
  count_lines(t, s, schedule, order, tiles, packed / p.groups / tiles * share)
  return counts.shared(t, p, order.tasks, packed)
end

---- backward weights --------------------------------------------------------------------------------------------------

-- Counts the windows of all blocks and groups, each pixel a turn of a loop.
local function count_windows(t, p, block)
  local w, bytes, pitch = window.block(p), p.ic // p.groups * parts.size_of(p), p.ic * parts.size_of(p)
  local blocks = p.batch * p.output[1] * ((p.output[2] * p.output[3] + block - 1) // block)
  local n = p.groups * blocks * w.pixels
  t:copy(n, { chunk = bytes, pitch = pitch, own = w.pixels * 64, others = w.bytes })
  t:loops(n)
end

-- The sums of a run of column tiles. With `across` pieces of the input channels begin in a loop; all of a pixel of
-- diff_dst passes from one to the next, of src what a piece reads.
local function count_sums(t, s, schedule, run)
  local p, size, block, across = s.p, s.size, counts.block(s.p), schedule.across
  local apart = schedule.window and s.icg or p.ic
  local source = schedule.copies and copies.pitch(p) * size or apart * p.stride[3] * size
  local n, v, bytes, pitch = p.groups * run.count, run.tile.vectors, run.tile.channels * size, p.oc * size
  for _, piece in ipairs(cut.piece_runs(s.icg, schedule.inputs)) do
    counts.sums(t, p, n * s.taps * piece.count, { rows = piece.size, vectors = v, looped = across },
      { bytes = bytes, pitch = schedule.panel and bytes or pitch, all = across and s.ocg * size },
      { bytes = piece.size * size, all = (across and piece.size or s.icg) * size, pitch = source, waits = "page" })
  end
  local walk = { chunk = bytes, pitch = pitch, own = block * (bytes + 64), others = block * pitch }
  if schedule.panel then t:copy(n * parts.pixels(p, p.output), walk) end
  if schedule.window then count_windows(t, p, block) end
  t:stores(n * s.taps * s.icg * parts.pixels(p, p.output) / block * v)
end

function direct_cost.gradient(s, schedule)
  local p, t, all = s.p, s.m.tally(), activations(s.p)
  local rows = p.groups * s.taps * s.icg * pixels_of(p, p.output) / counts.block(p)
  local function write(n, channels) t:write(n, channels * s.size, p.oc * s.size, parts.weight_bytes(p)) end
  for _, run in ipairs(cut.runs_of_columns(s.ocg, schedule.vectors, s.lanes)) do
    count_sums(t, s, schedule, run)
    if not schedule.across then write(rows * run.count, run.tile.channels) end
  end
  if schedule.across then write(rows, s.ocg) end
  t:read(1, { chunk = all, pitch = all, own = all, others = parts.weight_bytes(p), fetched = schedule.ahead })
  return t:cycles() / p.threads
end

return direct_cost
