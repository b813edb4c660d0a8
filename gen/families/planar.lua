-- planar.lua: pixels in the lanes: channels-first data, and channels-last data of few channels.
--
-- Forward and backward data are in planar_gather.lua, backward weights in planar_window.lua and planar_taps.lua; here are the names of
-- schedules, the space and its estimate. The canonical order holds.
local registers = require "registers"
local cut = require "tiles"
local parts = require "parts"
local reduce = require "reduce"
local cost = require "cost"
local counts = require "counts"
local gathering = require "families/planar_gather"
local sweeps = require "families/planar_sweeps"
local window = require "families/planar_window"
local taps = require "families/planar_taps"

local planar = { name = "planar", version = 5, chains = 1 }

local most_variants, most_parts, most_channels, most_operations = 12, 16, 64, 6000

---- schedules ----------------------------------------------------------------------------------------------------------------------------

-- planar.c6.v4.rows8 and planar.c6.v4.rows8.panel gather; planar.o10.rows2 (window) and planar.i3.k4.v2 (taps) are backward weights.
local forms = {
  { "planar.c%d.v%d.rows%d", "channels", "vectors", "rows" },
  { "planar.c%d.v%d.rows%d.panel", "channels", "vectors", "rows", panel = true },
  { "planar.o%d.rows%d", "outputs", "rows" },
  { "planar.i%d.k%d.v%d", "inputs", "taps", "vectors" },
}
for _, form in ipairs(forms) do
  form.pattern = "^" .. form[1]:gsub("%.", "%%."):gsub("%%d", "(%%d+)") .. "$"
end

local function has_form(s, form)
  for i = 2, #form do if not s[form[i]] then return false end end
  return (s.panel or false) == (form.panel or false)
end

function planar.print(s)
  for _, form in ipairs(forms) do
    if has_form(s, form) then
      local values = {}
      for i = 2, #form do values[i - 1] = s[form[i]] end
      return form[1]:format(table.unpack(values))
    end
  end
end

function planar.parse(name)
  for _, form in ipairs(forms) do
    local found = { name:match(form.pattern) }
    if found[1] then
      local s = { family = "planar", panel = form.panel }
      for i, value in ipairs(found) do s[form[i + 1]] = tonumber(value) end
      return s
    end
  end
end

---- the estimate ------------------------------------------------------------------------------------------------------

-- Counts the steps, calls and stores of a run of tiles of all rows for pieces of channels.
local function count_tile(t, s, run, piece)
  local times, v, c, m = s.p.batch * s.p.groups * run.count * piece.count, run.variant.vectors, s.counts, piece.size
  for _, segment in ipairs(run.variant.segments) do
    local active = 0
    for i = 0, v - 1 do if segment.lanes[i] then active = active + 1 end end
    t:steps(times * c.seen * segment.taps * s.from.channels, m * active, m + active, m * active)
    t:loops(times * c.seen)
  end
  t:calls(times * c.rows)
  local ragged = run.variant.last < s.lanes and not s.moves_out and 1 or 0
  t:stores(times * c.rows * m * (v - ragged), times * c.rows * m * ragged)
end

-- Counts the tiles of all rows; answers how many a row has.
local function count_tiles(t, s, schedule)
  local tiles = 0
  for _, axis in ipairs(s.axes[3]) do
    for _, run in ipairs((gathering.row_runs(s, axis, schedule.vectors))) do
      tiles = tiles + run.count
      for _, piece in ipairs(cut.piece_runs(s.to.channels, schedule.channels)) do count_tile(t, s, run, piece) end
    end
  end
  return tiles
end

-- Counts laying out the input for the rows of all tasks, and turning the results round.
local function count_moves(t, s, schedule)
  local c, from, to, rows = s.counts, s.from, s.to, 0
  for _, axis in ipairs(s.moves_in and s.axes[2] or {}) do
    local reach = math.min(schedule.rows * axis.step + axis.taps - 1, from.size[2])
    rows = rows + counts.blocks({ axis }, schedule.rows) * reach
  end
  local lines = s.p.batch * c.d.seen * rows * (from.neighbours and from.all or 1)
  local turned = from.neighbours and math.max(1, s.part / s.step) or (from.all + s.part - 1) // s.part
  t:calls(lines)
  t:turns(lines * from.size[3] * turned)
  if s.moves_out then t:turns(s.p.batch * c.rows * to.size[3] * ((to.all + s.part - 1) // s.part)) end
end

-- Counts the lines of weights, input and output for `tiles` tiles a row.
local function count_lines(t, s, schedule, tiles)
  local p, c, from, to, size = s.p, s.counts, s.from, s.to, s.size
  local pieces = schedule.panel and (to.channels + schedule.channels - 1) // schedule.channels or 1
  local panel, row = s.taps * from.channels * to.channels * size / pieces, c.w.read * size
  local all = parts.activation_bytes(p) + parts.weight_bytes(p)
  counts.panels(t, { first = p.groups * pieces, panel = panel, far = all,
    all = p.batch * p.groups * c.seen / (p.kernel[1] * p.kernel[2]) * tiles * pieces,
    near = schedule.vectors * s.lanes * from.channels * size })
  counts.input(t, s, { times = p.groups, chunk = row, pitch = s.moves_in and row or from.c * size, passes = pieces,
    units = from.channels, once = from.channels, first = all, panel = panel,
    next = p.batch * c.d.once * c.h.once * row * from.channels })
  t:write(p.batch * to.all * c.rows, c.w.outputs * size, (to.neighbours and to.c or c.w.outputs) * size,
    parts.pixels(p, to.size) * to.all * size)
end

local function cycles_of(s, schedule, m)
  local p, t = s.p, m.tally()
  count_lines(t, s, schedule, count_tiles(t, s, schedule))
  count_moves(t, s, schedule)
  local tasks = p.batch * s.counts.d.outputs * counts.blocks(s.axes[2], schedule.rows)
  return counts.shared(t, p, tasks, parts.weight_bytes(p))
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
    for _ in pairs(segment.lanes) do n = n + m end
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

-- Rows of a window in the lanes: what a step loads crosses lines when it may begin anywhere.
local function count_window(t, p, schedule, lanes)
  local size, pitch = parts.size_of(p), p.stride[3] * p.ic * parts.size_of(p)
  local crossing = pitch % (lanes * size) == 0 and p.pad[3] * p.ic % lanes == 0 and 1 or 2
  for _, tile in ipairs(cut.piece_runs(p.kernel[2], schedule.rows)) do
    for _, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
      counts.sums(t, p, p.kernel[1] * tile.count * piece.count,
        { rows = piece.size, vectors = tile.size * window_vectors(p, lanes), crossing = crossing },
        { bytes = math.min(p.kernel[3] * p.ic * size, pitch), pitch = pitch, times = tile.size },
        { bytes = piece.size * size, pitch = p.oc * size })
    end
  end
end

local function count_taps(t, p, schedule, lanes)
  local size, last, groups = parts.size_of(p), p.layout == "nhwc", p.groups * p.kernel[1] * p.kernel[2]
  local pitch = p.stride[3] * (last and p.ic or 1) * size
  for _, run in ipairs(cut.runs_of_columns(p.oc // p.groups, schedule.vectors, lanes)) do
    local v, diff = run.tile.vectors, run.tile.width * size
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      for _, taps in ipairs(cut.piece_runs(p.kernel[3], schedule.taps)) do
        counts.sums(t, p, groups * run.count * inputs.count * taps.count,
          { rows = inputs.size * taps.size, vectors = v }, { bytes = diff, pitch = last and p.oc * size or diff },
          { bytes = (last and inputs.size or 1) * size, pitch = pitch, times = last and 1 or inputs.size })
      end
    end
    if not last then t:turns(p.groups * run.count * parts.pixels(p, p.output) * diff / 16) end
  end
end

-- Totals are added to block by block, in scratch, and are turned round at the end.
local function gradient_cycles(p, schedule, lanes, m)
  local t, all, weights = m.tally(), parts.activation_bytes(p), parts.weight_bytes(p)
  local count, blocks = schedule.outputs and count_window or count_taps, parts.pixels(p, p.output) / counts.block(p)
  count(t, p, schedule, lanes)
  t:read(1, { chunk = all, pitch = all, own = all, others = weights })
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
  s.counts = counts.of(s.axes)
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
