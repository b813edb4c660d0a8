-- planar.lua: pixels in the lanes: channels-first data, and channels-last data of few channels.
--
-- Forward and backward data are in planar_gather.lua, backward weights in planar_window.lua and planar_taps.lua; here are the names of
-- schedules, the space and its estimate. The canonical order holds.
local names = require "names"
local registers = require "registers"
local cut = require "tiles"
local parts = require "parts"
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

---- the space and its estimate ---------------------------------------------------------------------------------------------------------

-- Cycles of one step of the outer product: fma slots, load slots, and the four cycles that an accumulator waits.
local function step_cycles(m, v) return math.max(m * v / 2, (v + m) / 2, 4) end

local function tile_cycles(s, axes, runs, m)
  local row = 0
  for _, run in ipairs(runs) do
    local steps = 20
    for _, segment in ipairs(run.variant.segments) do
      local active = 0
      for v = 0, run.variant.vectors - 1 do if segment.lanes[v] then active = active + 1 end end
      steps = steps + axes[1].taps * axes[2].taps * (segment.taps * s.from.channels * step_cycles(m, active) + 2)
    end
    row = row + run.count * steps
  end
  return row
end

-- Moving `width` pixels of a group of channels: what a transpose takes for whole vectors, however few pixels these hold.
local function turning_cycles(s, width)
  local whole = 2.5 * s.part
  return (width + s.lanes - 1) // s.lanes * whole + width * math.max(2 - whole / s.lanes, 0.5)
end

-- Laying out the input for all output rows of a phase, and turning the results round.
local function move_cycles(s, axes, schedule)
  local cycles, blocks = 0, (axes[2].outputs + schedule.rows - 1) // schedule.rows
  if s.moves_in then
    local width = s.from.size[3]
    local moved = s.from.neighbours and 2.0 * width * math.max(1, s.part / s.step)
      or (s.from.all + s.part - 1) // s.part * turning_cycles(s, width)
    local rows = math.min(schedule.rows * axes[2].step + axes[2].taps - 1, s.from.size[2])
    cycles = cycles + blocks * rows * math.min(axes[1].taps, s.from.size[1]) * (moved + 10) *
      (s.from.neighbours and s.from.all or 1)
  end
  if s.moves_out then
    cycles = cycles + axes[2].outputs * s.to.size[3] * (2.0 * ((s.to.all + s.part - 1) // s.part) + 1)
  end
  return cycles
end

local function cycles_of(s, schedule, machine)
  local cycles, p = 0, s.p
  for _, d_axis in ipairs(s.axes[1]) do
    for _, h_axis in ipairs(s.axes[2]) do
      local axes, row = { d_axis, h_axis }, 0
      for _, axis in ipairs(s.axes[3]) do
        local runs = gathering.row_runs(s, axis, schedule.vectors)
        for _, piece in ipairs(cut.piece_runs(s.to.channels, schedule.channels)) do
          row = row + piece.count * tile_cycles(s, axes, runs, piece.size)
        end
      end
      cycles = cycles + p.batch * d_axis.outputs * (h_axis.outputs * p.groups * row + move_cycles(s, axes, schedule))
    end
  end
  local l2 = machine.l2 and machine.l2 > 0 and machine.l2 or 1 << 20
  local weights = s.taps * s.from.channels * s.to.all * s.size
  -- Which of the two passes by: all the weights for each tile of pixels, or the pixels for each panel.
  if not schedule.panel and weights > 0.6 * l2 then cycles = cycles * 1.2 end
  if schedule.panel then cycles = cycles * 1.02 end
  if p.weights == "changing" then cycles = cycles + weights / s.size / s.part * 1.5 end
  return cycles
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
  if p.output[3] > parts.block then
    return ("rows of %d pixels, planar's backward weights take at most %d"):format(p.output[3], parts.block)
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

local function gradient_cycles(p, schedule, lanes)
  local pixels = p.batch * p.output[1] * p.output[2] * p.output[3]
  if schedule.outputs then
    local vectors, cycles = window_vectors(p, lanes), 0
    for _, tile in ipairs(cut.even_pieces(p.kernel[2], schedule.rows)) do
      for _, piece in ipairs(cut.piece_runs(p.oc, schedule.outputs)) do
        -- A window that is read anywhere crosses lines: it counts twice.
        local v = tile.size * vectors
        cycles = cycles + piece.count * math.max(piece.size * v / 2, (2 * v + piece.size) / 2, 4)
      end
    end
    return p.kernel[1] * pixels * cycles
  end
  local cycles = 0
  for _, run in ipairs(cut.column_runs(cut.columns(p.oc // p.groups, schedule.vectors, lanes))) do
    for _, inputs in ipairs(cut.piece_runs(p.ic // p.groups, schedule.inputs)) do
      for _, taps in ipairs(cut.even_pieces(p.kernel[3], schedule.taps)) do
        cycles = cycles + run.count * inputs.count * step_cycles(inputs.size * taps.size, run.tile.vectors)
      end
    end
    if p.layout == "nchw" then cycles = cycles + run.count * run.tile.vectors * lanes / 2 end -- turning
  end
  return p.groups * p.kernel[1] * p.kernel[2] * pixels * cycles
end

---- what the generator asks for ---------------------------------------------------------------------------------------------------------------

-- How a pass is done: why it cannot be, its candidates, why one of them cannot be, its cycles, its stages.
local function gathers(p, target, machine)
  local s = gathering.shape(p, target)
  return { why = refused(p, s), candidates = function() return candidates(s, target) end,
    misfit = function(schedule)
      if not schedule.rows or not schedule.channels then return "is a schedule of backward weights" end
      return misfit(s, schedule, target)
    end,
    cycles = function(schedule) return cycles_of(s, schedule, machine) end, stages = gathering.stages }
end

local function gradients(p, target)
  local lanes = target.bits // 8 // (p.type == "f32" and 4 or 8)
  return { why = gradient_refused(p), candidates = function() return gradient_candidates(p, target, lanes) end,
    misfit = function(schedule)
      if schedule.channels then return "is no schedule of backward weights" end
      return gradient_misfit(p, schedule, target, lanes)
    end,
    cycles = function(schedule) return gradient_cycles(p, schedule, lanes) end, 
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
