-- depthwise.lua: every channel alone (groups = channels), channels-last, channels in the lanes.
--
-- Forward and backward data are in depthwise_gather.lua, backward weights in depthwise_gradient.lua; here are the names of
-- schedules, the space and its estimate. The canonical order holds. With a channel multiplier the lanes are output channels, and
-- backward data, which sums over those of an input channel, has input channels in the lanes: see depthwise_gather.lua.
local parts = require "parts"
local types = require "types"
local registers = require "registers"
local cut = require "tiles"
local gathering = require "families/depthwise_gather"
local gradient = require "families/depthwise_gradient"

local depthwise = { name = "depthwise", version = 4, chains = 1 }

-- Of the text of all kernels of a schedule: multiply-adds, and runs of rows that a gradient's kernel has arguments for.
local most_operations, most_row_runs = 6000, 12

---- schedules ------------------------------------------------------------------------------------------------------------------------
-- depthwise.r2.p4: tiles of 2 rows and 4 pixels, all weights of a plane in registers. depthwise.row.p12: one row, its taps a loop,
-- a row of weights in registers. depthwise.stream.p12: the same, weights loaded one by one. depthwise.h3.w3.v2.p4: backward
-- weights, the sums of 3 x 3 taps of 2 vectors of channels in registers, 4 pixels a step.

local forms = {
  { pattern = "depthwise.r%d.p%d", fields = { "rows", "pixels" } },
  { pattern = "depthwise.row.p%d", fields = { "pixels" }, flag = "row" },
  { pattern = "depthwise.stream.p%d", fields = { "pixels" }, flag = "streamed" },
  { pattern = "depthwise.h%d.w%d.v%d.p%d", fields = { "height", "width", "vectors", "pixels" } },
}

local function form_of(schedule)
  if schedule.height then return forms[4] end
  if schedule.rows then return forms[1] end
  return schedule.streamed and forms[3] or forms[2]
end

function depthwise.print(schedule)
  local form, values = form_of(schedule), {}
  for i, field in ipairs(form.fields) do values[i] = schedule[field] end
  return form.pattern:format(table.unpack(values))
end

function depthwise.parse(name)
  for _, form in ipairs(forms) do
    local values = { name:match("^" .. form.pattern:gsub("%.", "%%."):gsub("%%d", "(%%d+)") .. "$") }
    if #values > 0 then
      local schedule = { family = "depthwise" }
      for i, field in ipairs(form.fields) do
        schedule[field] = tonumber(values[i])
        if schedule[field] < 1 then return nil end
      end
      if form.flag then schedule[form.flag] = true end
      return schedule
    end
  end
end

---- what does not apply or fit -------------------------------------------------------------------------------------------------------

local function refused(p)
  if p.layout ~= "nhwc" then return "depthwise needs channels-last data" end
  if p.groups ~= p.ic then return ("depthwise needs a group for each of the %d channels, not %d"):format(p.ic, p.groups) end
  local taps, most = math.max(p.kernel[2], p.kernel[3]), most_operations // 4 -- of the smallest tile, four pixels
  if taps > most then return ("an axis of %d taps, depthwise takes at most %d"):format(taps, most) end
end

local lanes_of = parts.lanes_of

-- The channels in the lanes, and how many terms each sums for a tap.
local function channels_of(p) return p.pass == "backward_data" and p.ic or p.oc end
local function members_of(p) return p.pass == "backward_data" and p.oc // p.ic or 1 end

-- The input vector, and one for the mask of ragged channels, where masks take vector registers, or the places to spread from.
local function other_registers(p, target)
  local ragged = channels_of(p) % lanes_of(p, target) ~= 0 and not target.mask_registers
  return 1 + ((ragged or channels_of(p) ~= p.ic) and 1 or 0)
end

local function free_registers(p, target) return target.registers - other_registers(p, target) end

local function too_large(operations)
  if operations > most_operations then
    return ("its kernels would have %d multiply-adds, at most %d"):format(operations, most_operations)
  end
end

-- Multiply-adds in the text of a gathering schedule's kernels for one of the channel parts.
local function gathering_text(s)
  local columns, rows = 0, 0
  for _, run in ipairs(s.columns) do columns = columns + run.variant.uses end
  for _, variant in ipairs(s.row_variants or {}) do rows = rows + variant.uses end
  return columns * (s.row_variants and rows or #s.axes[2]) * #s.axes[1] * s.members
end

local function gradient_text(rectangles)
  local operations = 0
  gradient.each_kernel(rectangles, function(r, shape)
    local rows, columns = 0, 0
    for _, run in ipairs(r.row_runs) do rows = rows + #run.taps + (r.bias and 1 or 0) end
    for _, run in ipairs(shape.runs) do columns = columns + run.variant.uses + 1 end
    operations = operations + rows * columns
  end)
  return operations
end

---- estimates --------------------------------------------------------------------------------------------------------------------------

-- A load of a vector that crosses cache lines counts for two.
local function load_slots(p, target)
  local vector = target.bits // 8
  local size = parts.size_of(p)
  return vector < 64 and 1 or (members_of(p) > 1 or p.oc * size % vector == 0) and 1 or 2
end

-- Cycles of one tile: fma slots, load slots, stores; and a little for the loop around it.
local function tile_cycles(operations, loads, stores) return math.max(operations / 2, loads / 2, stores, 4) + 2 end

local function vectors_of(p, target)
  local lanes = lanes_of(p, target)
  return (channels_of(p) + lanes - 1) // lanes
end

-- Laying out an image by members: a group of `part` of them is moved by transposes of 128-bit parts, a row of it stored for each.
local function moving_cycles(p, target)
  local part, members = types.part(p.type), members_of(p)
  if members == 1 then return 0 end
  local lanes = lanes_of(p, target)
  local groups, loads = (members + part - 1) // part, lanes
  return p.output[1] * p.output[2] * p.output[3] * (groups * (loads + 2 * part) * 0.6 + 6)
end

local function gathering_cycles(p, s, schedule, target)
  local slots, cycles = load_slots(p, target), 0
  local planes = 0
  for _, axis in ipairs(s.axes[1]) do planes = planes + axis.outputs * math.max(axis.taps, 1) end
  local one_plane = gathering.single_plane(s)
  -- A row of tiles reads its lines from the second cache again, about a cycle a vector.
  local function row(uses, lines, height, weights)
    local sum = lines * s.from.size[3] * s.members
    for _, run in ipairs(s.columns) do
      local v = run.variant
      local loads = (schedule.streamed and (v.uses + p.kernel[3]) * uses or lines * #v.positions + weights) * s.members
      sum = sum + run.count * tile_cycles(uses * v.uses * s.members, loads * slots, height * v.size)
    end
    return sum + 10
  end
  if s.row_runs then
    for _, run in ipairs(s.row_runs) do
      local v = run.variant
      cycles = cycles + run.count * row(v.uses, #v.positions, v.size, one_plane and 0 or p.kernel[2] * p.kernel[3])
    end
  else
    for _, axis in ipairs(s.axes[2]) do
      cycles = cycles + axis.outputs * (row(axis.taps, axis.taps, 1, axis.taps * p.kernel[3]) + axis.taps * #s.columns * 2)
    end
  end
  return (cycles * planes + moving_cycles(p, target)) * p.batch * vectors_of(p, target)
end

local function gradient_cycles(p, rectangles, schedule, target)
  local slots, cycles = load_slots(p, target), 0
  for _, r in ipairs(rectangles) do
    for _, run in ipairs(r.row_runs) do
      for _, chunk in ipairs(r.chunks) do
        for _, column in ipairs(chunk.columns.runs) do
          local v = column.variant
          local operations = #run.taps * v.uses + (r.bias and v.size or 0)
          local loads = #run.taps * #v.positions + v.size
          -- One vector's sums are barely enough to hide the latency of an fma.
          local wait = 2 * v.size / schedule.vectors
          cycles = cycles + run.count * chunk.count * column.count * (tile_cycles(operations, loads * slots, 0) + wait)
        end
        cycles = cycles + run.count * chunk.count * 5
      end
    end
    cycles = cycles + 30 * p.output[2]
  end
  return cycles * p.batch * p.output[1] * p.kernel[1] * vectors_of(p, target)
end

---- the space --------------------------------------------------------------------------------------------------------------------------

local function gathering_candidates(p, target)
  local forward = p.pass == "forward"
  local size, stride = forward and p.output or p.input, forward and { 1, 1, 1 } or p.stride
  local free, kh, kw = free_registers(p, target), p.kernel[2], p.kernel[3] * members_of(p) -- weights in a row of taps
  local list, seen = {}, {}
  local function add(schedule)
    local pixels = math.min(schedule.pixels, (size[3] + stride[3] - 1) // stride[3] * stride[3])
    pixels = pixels // stride[3] * stride[3]
    if pixels < 1 then return end
    local units = pixels // stride[3]
    schedule.pixels = cut.even_size((size[3] + stride[3] - 1) // stride[3], units) * stride[3]
    schedule.family = "depthwise"
    local name = depthwise.print(schedule)
    if not seen[name] then list[#list + 1] = schedule end
    seen[name] = true
  end
  for _, rows in ipairs { 1, 2, 3, 4 } do
    rows = rows * stride[2]
    if rows < size[2] + stride[2] then
      local most = (free - kh * kw) // rows
      if most >= 1 then
        add { rows = rows, pixels = most }
        add { rows = rows, pixels = most // 2 }
        if most > 4 then add { rows = rows, pixels = 4 } end
      end
    end
  end
  if free - kw >= stride[3] then
    add { row = true, pixels = free - kw }
    add { row = true, pixels = (free - kw) // 2 }
  end
  add { streamed = true, pixels = free - 1 }
  add { streamed = true, pixels = (free - 1) // 2 }
  if #list == 0 then add { streamed = true, pixels = stride[3] } end
  return list
end

local function gradient_candidates(p, target)
  local free, kh, kw = free_registers(p, target), p.kernel[2], p.kernel[3]
  local vectors = math.max(p.oc // lanes_of(p, target), 1)
  local list, seen = {}, {}
  local function add(height, width, v, pixels)
    local schedule = { family = "depthwise", height = cut.even_size(kh, height),
      width = cut.even_size(kw, width), pixels = cut.even_size(math.min(p.output[3], 512), pixels),
      vectors = math.min(v, vectors) }
    local name = depthwise.print(schedule)
    if not seen[name] then list[#list + 1] = schedule end
    seen[name] = true
  end
  -- As many rows of taps as fit.
  local function most_height(width, v, pixels)
    for height = kh, 1, -1 do
      if gradient.registers(p, { height = height, width = width, vectors = v, pixels = pixels }) <= free then return height end
    end
    return 0
  end
  for _, width in ipairs { kw, (kw + 1) // 2, math.min(kw, 4), 1 } do
    for _, pixels in ipairs { 8, 4 } do
      for v = 1, 3 do
        local height = most_height(width, v, pixels)
        if height == kh or v == 1 and height >= 1 then add(height, width, v, pixels) end
      end
    end
  end
  for _, pixels in ipairs { 8, 4 } do add(1, 1, 1, pixels) end
  return list
end

-- The estimate in cycles, or nil and why the schedule cannot be.
local function judge(p, schedule, target)
  local lanes, multiplier = lanes_of(p, target), p.oc // p.ic
  if schedule.height then
    local needed = gradient.registers(p, schedule) + other_registers(p, target)
    if needed > target.registers then return nil, ("needs %d registers, %s has %d"):format(needed, target.name, target.registers) end
    local rectangles = gradient.rectangles(p, schedule)
    for _, r in ipairs(rectangles) do
      if #r.row_runs > most_row_runs then
        return nil, ("needs %d runs of equal rows, at most %d"):format(#r.row_runs, most_row_runs)
      end
    end
    local vectors = 0
    for _, part in ipairs(gradient.channel_parts(p.oc, lanes, schedule.vectors, multiplier)) do vectors = vectors + part.vectors end
    local why = too_large(gradient_text(rectangles) * vectors)
    if why then return nil, why end
    return gradient_cycles(p, rectangles, schedule, target)
  end
  local stride = p.pass == "backward_data" and p.stride or { 1, 1, 1 }
  if schedule.pixels % stride[3] ~= 0 or (schedule.rows or stride[2]) % stride[2] ~= 0 then
    return nil, ("tiles must be multiples of the strides %d and %d"):format(stride[2], stride[3])
  end
  local rows = schedule.rows or 1
  local weights = schedule.streamed and 1 or (schedule.rows and p.kernel[2] or 1) * p.kernel[3] * members_of(p)
  local needed = rows * schedule.pixels + weights + other_registers(p, target)
  if needed > target.registers then return nil, ("needs %d registers, %s has %d"):format(needed, target.name, target.registers) end
  local s = gathering.shape(p, schedule, target)
  if #s.axes[1] * (s.row_runs and #s.row_runs or #s.axes[2]) > 16 then return nil, "needs more than 16 parts" end
  local why = too_large(gathering_text(s) * gathering.count_parts(s))
  if why then return nil, why end
  return gathering_cycles(p, s, schedule, target)
end

-- Adds to `list` every schedule with its estimate in cycles or the reason why not; one entry without a schedule when the family does not
-- apply.
function depthwise.schedules(p, target, _, list)
  local why = refused(p)
  if why then list[1] = { why = why, name = "depthwise" }; return end
  for i, schedule in ipairs((p.pass == "backward_weights" and gradient_candidates or gathering_candidates)(p, target)) do
    local cycles, cannot = judge(p, schedule, target)
    list[i] = { schedule = schedule, cycles = cycles, why = cannot }
  end
end

function depthwise.stages(p, schedule, target)
  local by_taps = p.pass == "backward_weights"
  if by_taps ~= (schedule.height ~= nil) then return nil, depthwise.print(schedule) .. " is not a schedule of this pass" end
  local why = refused(p)
  if why then return nil, why end
  local _, cannot = judge(p, schedule, target)
  if cannot then return nil, cannot end
  local result = (by_taps and gradient or gathering).stages(p, schedule, target)
  for _, kernel in ipairs(result.kernels) do
    local map, short = registers.allocate(kernel, target)
    if not map then return nil, short end
  end
  return result
end

return depthwise
