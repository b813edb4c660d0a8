-- planar.lua: pixels in the lanes: channels-first data, and channels-last data of few channels.
--
-- Forward and backward data are in planar_gather.lua, backward weights in planar_window.lua and planar_taps.lua; here are the names of
-- schedules, the space and its estimate. The canonical order holds.
local names = require "names"
local registers = require "registers"
local cut = require "tiles"
local parts = require "parts"
local reduce = require "reduce"
local cost = require "cost"
local gathering = require "families/planar_gather"
local sweeps = require "families/planar_sweeps"
local window = require "families/planar_window"
local taps = require "families/planar_taps"

local planar = { name = "planar", version = 5, chains = 1 }

local most_variants, most_parts, most_channels, most_operations = 12, 16, 64, 6000

---- schedules ----------------------------------------------------------------------------------------------------------------------------

-- planar.c6.v4.rows8 and planar.c6.v4.rows8.panel gather; planar.o10.rows2 (window) and planar.i3.k4.v2 (taps) are backward weights.
names.family("planar", {
  { { "planar", fields = { { "c", "channels" }, { "v", "vectors" }, { "rows", "rows" } }, marks = { "panel" } } },
  { { "planar", fields = { { "o", "outputs" }, { "rows", "rows" } } } },
  { { "planar", fields = { { "i", "inputs" }, { "k", "taps" }, { "v", "vectors" } } } },
})

---- the estimate ------------------------------------------------------------------------------------------------------------------------

-- Counts the tiles of all rows; answers the tiles that a row has and the pieces of channels.
local function count_tiles(t, s, schedule)
  local d, h, tiles, pieces = s.counts[1], s.counts[2], 0, cut.piece_runs(s.to.channels, schedule.channels)
  local function count_tile(run, piece)
    local times, v = s.p.batch * s.p.groups * run.count * piece.count, run.variant.vectors
    for _, segment in ipairs(run.variant.segments) do
      local active = segment.vectors
      t:steps(times * d.seen * h.seen * segment.taps * s.from.channels, piece.size * active, piece.size + active, piece.size * active)
      t:loops(times * d.seen * h.seen)
    end
    t:calls(times * d.outputs * h.outputs)
    local ragged = run.variant.last < s.lanes and not s.moves_out and 1 or 0
    t:stores(times * d.outputs * h.outputs * piece.size * (v - ragged), times * d.outputs * h.outputs * piece.size * ragged)
  end
  for _, axis in ipairs(s.axes[3]) do
    for _, run in ipairs((gathering.row_runs(s, axis, schedule.vectors))) do
      tiles = tiles + run.count
      for _, piece in ipairs(pieces) do count_tile(run, piece) end
    end
  end
  return tiles, (s.to.channels + schedule.channels - 1) // schedule.channels
end

-- Counts laying out the input for the rows of all tasks, and turning the results round.
local function count_moves(t, s, schedule)
  local d, h = s.counts[1], s.counts[2]
  if s.moves_in then
    local from, rows = s.from, 0
    for _, axis in ipairs(s.axes[2]) do
      rows = rows + (axis.outputs + schedule.rows - 1) // schedule.rows * math.min(schedule.rows * axis.step + axis.taps - 1, from.size[2])
    end
    local lines = s.p.batch * d.seen * rows * (from.neighbours and from.all or 1)
    t:calls(lines)
    t:turns(lines * from.size[3] * (from.neighbours and math.max(1, s.part / s.step) or (from.all + s.part - 1) // s.part))
  end
  if s.moves_out then t:turns(s.p.batch * d.outputs * h.outputs * s.to.size[3] * ((s.to.all + s.part - 1) // s.part)) end
end

-- Counts the lines of weights, input and output.
local function count_lines(t, s, schedule, tiles, pieces)
  local p, d, h, w = s.p, table.unpack(s.counts)
  local from, to, size = s.from, s.to, s.size
  local weights, all = s.taps * from.channels * to.channels * size, parts.activation_bytes(p) + parts.weight_bytes(p)
  local row, window = w.read * size, h.seen / h.outputs * w.read * from.channels * size
  local pitch = s.moves_in and row or from.c * size
  local passes = p.batch * p.groups * d.seen * h.seen / (p.kernel[1] * p.kernel[2]) * tiles
  local function read(n, chunk, pitch, own, others) t:read(n, { chunk = chunk, pitch = pitch, own = own, others = others }) end
  local again, near = schedule.panel and pieces or 1, schedule.vectors * s.lanes * from.channels * size
  read(p.groups, weights, weights, all)
  read(passes - p.groups, weights, weights, schedule.panel and weights / pieces or weights, near)
  read(p.batch * from.all * d.once * h.once, row, pitch, 0, all)
  read(p.batch * from.all * (d.seen * h.seen - d.once * h.once) * again, row, pitch, window, weights / again)
  read(p.batch * from.all * d.once * h.once * (again - 1), row, pitch, p.batch * d.once * h.once * row * from.channels)
  t:write(p.batch * to.all * d.outputs * h.outputs, w.outputs * size, to.neighbours and to.c * size or w.outputs * size, parts.pixels(p, to.size) * to.all * size)
end

local function cycles_of(s, schedule, m)
  local p, t = s.p, m.tally()
  count_lines(t, s, schedule, count_tiles(t, s, schedule))
  count_moves(t, s, schedule)
  local weights, blocks = parts.weight_bytes(p), 0
  for _, axis in ipairs(s.axes[2]) do blocks = blocks + (axis.outputs + schedule.rows - 1) // schedule.rows end
  local tasks = p.batch * s.counts[1].outputs * blocks
  t:tasks(tasks)
  return t:cycles() * ((tasks + p.threads - 1) // p.threads) / tasks + (p.weights == "changing" and m.pack(weights, weights) / p.threads or 0)
end

local most_groups = 1024 -- of channels that pixels are laid out by: each is written out in the kernel that does it

local function refused(p, s)
  local phases = #s.axes[1] * #s.axes[2] * #s.axes[3]
  if phases > most_parts then return ("needs %d phases, at most %d"):format(phases, most_parts) end
  if p.layout == "nhwc" and s.to.all > most_channels then
    return ("channels-last data with %d channels in the result; planar takes at most %d"):format(s.to.all, most_channels)
  end
  if s.moves_in and not s.from.neighbours and s.from.all > most_groups * s.part then
    return ("channels-last data with %d channels to sum; planar takes at most %d"):format(s.from.all, most_groups * s.part)
  end
end

-- Registers beside the accumulators: the pixels, a weight, and a mask for ragged rows where masks take vector registers.
local function other_registers(target, v) return v + 1 + (target.mask_registers and 0 or 1) end

local function most_of(target, v) return (target.registers - other_registers(target, v)) // v end

local function operations(s, variant, m)
  local n = 0
  for _, segment in ipairs(variant.segments) do
    n = n + segment.vectors * m
  end
  return n
end

-- Why this schedule cannot be, or nil.
local function misfit(s, schedule, target)
  if schedule.channels > most_of(target, schedule.vectors) then
    return ("needs %d registers, %s has %d"):format(schedule.channels * schedule.vectors + other_registers(target, schedule.vectors),
      target.name, target.registers)
  end
  if schedule.panel and (s.moves_in or s.moves_out) then return "pixels that move through scratch come before channels" end
  local variants, most = 0, 0
  for _, axis in ipairs(s.axes[3]) do
    local _, list = gathering.row_runs(s, axis, schedule.vectors)
    variants = variants + #list
    for _, variant in ipairs(list) do most = math.max(most, operations(s, variant, schedule.channels)) end
  end
  if variants > most_variants then return ("needs %d border variants, at most %d"):format(variants, most_variants) end
  if most > most_operations then return ("a row of taps is %d multiply-adds, at most %d"):format(most, most_operations) end
end

-- Many rows a task lay few out twice, as long as what they lay out stays in the second cache.
local function rows_of_tasks(s)
  local list, outputs = { 4 }, s.axes[2][1].outputs
  if outputs > 4 then list[2] = 16 end
  if outputs > 16 and s.moves_in and 64 * s.in_row * s.size <= 1 << 19 then list[3] = 64 end
  return list
end

local function candidates(s, target)
  local list = {}
  local row = (s.axes[3][1].outputs + s.lanes - 1) // s.lanes
  for v = 1, math.min(row, 8) do
    local most = most_of(target, v)
    if most >= 1 and cut.even_size(row, v) == v then
      local channels = cut.even_size(s.to.channels, most)
      for _, rows in ipairs(rows_of_tasks(s)) do list[#list + 1] = { channels = channels, vectors = v, rows = rows } end
      if not s.moves_in and not s.moves_out and channels < s.to.channels then
        list[#list + 1] = { channels = channels, vectors = v, rows = 16, panel = true }
      end
    end
  end
  return list
end

---- backward weights ------------------------------------------------------------------------------------------------------------------------

local function gradient_refused(p)
  if p.output[3] > reduce.block then
    return ("rows of %d pixels, planar's backward weights take at most %d"):format(p.output[3], reduce.block)
  end
  if p.layout == "nhwc" and p.kernel[3] == 1 and (p.groups > 1 or p.dilation[3] > 1) then return "channels-last data needs taps along w" end
end

local function window_vectors(p, lanes) return (p.kernel[3] * p.ic + lanes - 1) // lanes end

-- Registers of a schedule; the last are for a range's mask, where masks take vector registers.
local function gradient_registers(p, schedule, target, lanes)
  local mask = target.mask_registers and 0 or 1
  if schedule.outputs then
    local v = schedule.rows * window_vectors(p, lanes)
    return schedule.outputs * v + v + 1 + mask
  end
  return (schedule.taps * schedule.inputs + 1) * schedule.vectors + 1 + mask
end

local function gradient_misfit(p, schedule, target, lanes)
  if schedule.outputs then
    if p.layout ~= "nhwc" then return "a window in the lanes is for channels-last data" end
    if p.groups > 1 or p.dilation[3] > 1 then return "a window in the lanes needs one group and no dilation along w" end
  end
  local used = gradient_registers(p, schedule, target, lanes)
  if used > target.registers then return ("needs %d registers, %s has %d"):format(used, target.name, target.registers) end
  local most, taps = 0, schedule.taps or p.kernel[3]
  for _, piece in ipairs(cut.even_pieces(p.kernel[3], taps)) do
    most = math.max(most, #sweeps.row_of(p, piece.first, piece.first + piece.size - 1).ends)
  end
  if most > sweeps.most_border then
    return ("%d pixels of a row see some taps only, at most %d"):format(most, sweeps.most_border)
  end
end

local function gradient_candidates(p, target, lanes)
  local list, icg, ocg = {}, p.ic // p.groups, p.oc // p.groups
  local function most(v, beside) return (target.registers - beside - (target.mask_registers and 0 or 1)) // v end
  if p.layout == "nhwc" and p.groups == 1 and p.dilation[3] == 1 then
    local vectors = window_vectors(p, lanes)
    for rows = 1, math.min(6, p.kernel[2]) do
      local v = rows * vectors
      local outputs = most(v, v + 1)
      if outputs >= 1 and cut.even_size(p.kernel[2], rows) == rows then
        list[#list + 1] = { outputs = cut.even_size(p.oc, outputs), rows = rows }
      end
    end
  end
  for v = 1, math.min(4, (ocg + lanes - 1) // lanes) do
    local m = most(v, v + 1)
    if m >= 1 then
      local inputs = cut.even_size(icg, m)
      local taps = cut.even_size(p.kernel[3], math.max(m // inputs, 1))
      local last = p.layout == "nhwc" -- where direct has what one tap would do
      if taps > 1 or not last then list[#list + 1] = { inputs = inputs, taps = taps, vectors = v } end
      if taps > 1 and not last then list[#list + 1] = { inputs = inputs, taps = 1, vectors = v } end
    end
  end
  return list
end

-- Pixels of a block at most.
local function block_of(p) return math.min(reduce.block_rows(p.output[3]), p.output[2]) * p.output[3] end

-- Rows of a window in the lanes: what a step loads crosses lines when it may begin anywhere.
local function count_window(t, p, schedule, lanes)
  local size, pixels, block = parts.size_of(p), p.kernel[1] * parts.pixels(p, p.output), block_of(p)
  local pitch = p.stride[3] * p.ic * size
  local crossing = pitch % (lanes * size) == 0 and p.pad[3] * p.ic % lanes == 0 and 1 or 2
  for _, tile in ipairs(cut.piece_runs(p.kernel[2], schedule.rows)) do
    for _, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      local v, n = tile.size * window_vectors(p, lanes), tile.count * piece.count
      t:steps(n * pixels, piece.size * v, crossing * v + piece.size, piece.size * v)
      t:calls(n * pixels / block)
      t:loops(n * pixels / p.output[3])
      local window = math.min(p.kernel[3] * p.ic * size, pitch)
      t:read(n * tile.size * pixels, { chunk = window, pitch = pitch, own = block * window * tile.size, others = block * 64 })
      t:read(n * pixels, { chunk = piece.size * size, pitch = p.oc * size, own = block * 64, others = block * window * tile.size })
    end
  end
end

local function count_taps(t, p, schedule, lanes)
  local size, pixels, block, icg = parts.size_of(p), parts.pixels(p, p.output), block_of(p), p.ic // p.groups
  local rows, last = p.groups * p.kernel[1] * p.kernel[2], p.layout == "nhwc"
  local pitch = p.stride[3] * (last and p.ic or 1) * size
  for _, run in ipairs(cut.runs_of_columns(p.oc // p.groups, schedule.vectors, lanes)) do
    local v = run.tile.vectors
    local diff = v * lanes * size
    for _, inputs in ipairs(cut.piece_runs(icg, schedule.inputs)) do
      local rows_of = last and 1 or inputs.size
      for _, taps in ipairs(cut.piece_runs(p.kernel[3], schedule.taps)) do
        local m, n = inputs.size * taps.size, rows * run.count * inputs.count * taps.count
        t:steps(n * pixels, m * v, m + v, m * v)
        t:calls(n * pixels / block)
        t:loops(n * pixels / p.output[3])
        t:read(n * pixels, { chunk = diff, pitch = last and p.oc * size or diff, own = block * diff, others = block * 64 })
        t:read(n * pixels * rows_of, { chunk = inputs.size // rows_of * size, pitch = pitch, own = block * rows_of * 64, others = block * diff })
      end
    end
    if not last then t:turns(p.groups * run.count * pixels * diff / 16) end
  end
end

local function gradient_cycles(p, schedule, lanes, m)
  local t, all, weights = m.tally(), parts.activation_bytes(p), parts.weight_bytes(p);
  (schedule.outputs and count_window or count_taps)(t, p, schedule, lanes)
  t:read(1, { chunk = all, pitch = all, own = all, others = weights })
  local blocks = parts.pixels(p, p.output) / block_of(p)
  t:stores((blocks + 1) * weights / (lanes * parts.size_of(p)))
  t:write(blocks, weights, weights, weights)
  t:copy(1, { chunk = weights, pitch = weights, own = weights })
  if schedule.outputs or p.layout == "nchw" then t:turns(weights / 16) end
  return t:cycles() / p.threads
end

---- what the generator asks for ---------------------------------------------------------------------------------------------------------------

-- How a pass is done: why it cannot be, its candidates, why one of them cannot be, its cycles, its stages.
local function gathers(p, target, machine)
  local s = gathering.shape(p, target)
  s.counts = { cut.counts(s.axes[1]), cut.counts(s.axes[2]), cut.counts(s.axes[3]) }
  return { why = refused(p, s), candidates = function() return candidates(s, target) end,
    misfit = function(schedule)
      if not schedule.rows or not schedule.channels then return "is a schedule of backward weights" end
      return misfit(s, schedule, target)
    end,
    cycles = function(schedule) return cycles_of(s, schedule, cost.machine(machine, target)) end, stages = gathering.stages }
end

local function gradients(p, target, machine)
  local lanes = parts.lanes_of(p, target)
  return { why = gradient_refused(p), candidates = function() return gradient_candidates(p, target, lanes) end,
    misfit = function(schedule)
      if schedule.channels then return "is no schedule of backward weights" end
      return gradient_misfit(p, schedule, target, lanes)
    end,
    cycles = function(schedule) return gradient_cycles(p, schedule, lanes, cost.machine(machine, target)) end,
    stages = function(...) return (select(2, ...).outputs and window or taps).stages(...) end }
end

local function way(p, target, machine)
  return (p.pass == "backward_weights" and gradients or gathers)(p, target, machine)
end

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when the family does not
-- apply.
function planar.schedules(p, target, machine, list)
  local how = way(p, target, machine)
  if how.why then list[1] = { why = how.why, name = "planar" }; return end
  for _, schedule in ipairs(how.candidates()) do
    schedule.family = "planar"
    local cannot = how.misfit(schedule)
    list[#list + 1] = { schedule = schedule, cycles = not cannot and how.cycles(schedule) or 0, why = cannot }
  end
  if #list == 0 then list[1] = { why = "no tile fits the registers", name = "planar" } end
end

function planar.stages(p, schedule, target, machine)
  local how = way(p, target, machine)
  local why = how.why or how.misfit(schedule)
  if why then return nil, why end
  local result = how.stages(p, schedule, target)
  for _, kernel in ipairs(result.kernels) do
    local map, cannot = registers.allocate(kernel, target)
    if not map then return nil, cannot end
  end
  return result
end

return planar
