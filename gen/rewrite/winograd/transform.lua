-- transform.lua: the kernel programs of Winograd's three transforms and of the product between them.
--
-- A transform of two dimensions is straight-line code along the rows, then along the columns; what lies between is held in
-- registers as far as they go and in slots beyond. Channels are in the lanes.
local program = require "program"
local registers = require "registers"
local straight = require "straight"
local parts = require "parts"
local tile = require "tile"
local transform = {}

---- two dimensions --------------------------------------------------------------------------------------------------------------

-- Gives registers for constants: all at once before the loops where they fit, else each where it is used.
local function constants(k, kept, list)
  local known = {}
  local function new(c)
    local r = k:vector "c"
    k:constant(r, c)
    return r
  end
  if not kept then return new end
  for _, s in ipairs(list) do
    for _, c in ipairs(straight.constants(s)) do known[c] = known[c] or new(c) end
  end
  return function(c) return known[c] end
end

-- o: rows (numbers of those that are there), load(row) gives inputs for `along`, whose results of a column go into `across`;
-- finish(column, results); m: what the matrices are called, to = left from right. The first `held` columns stay in registers.
local function two_dimensions(k, o, held, constant)
  local middle, m = {}, o.m
  for _, y in ipairs(o.rows) do
    k:comment(("%s %s, row %d"):format(m.from, m.right, y - 1))
    middle[y] = straight.emit(k, o.along, o.load(y), constant)
    for f, r in ipairs(middle[y]) do
      if r and f > held then
        middle[y][f] = o.slots[y * 64 + f] or k:slot(("%s%s%d_%d"):format(m.from, m.right, y - 1, f - 1))
        o.slots[y * 64 + f] = middle[y][f]
        k:spill(middle[y][f], r)
      end
    end
  end
  local nothing = {} -- where all inputs of a column are zero
  for i = 1, #o.across.results do nothing[i] = false end
  for f = 1, #o.along.results do
    local x = {}
    for y = 1, o.across.inputs do
      local from = middle[y] and middle[y][f]
      x[y] = from and from.kind == "slot" and function()
        local r = k:vector "x"
        k:fill(r, from)
        return r
      end or from
    end
    k:comment(("%s = %s (%s %s), column %d"):format(m.to, m.left, m.from, m.right, f - 1))
    local results = nothing
    if o.along.results[f] then results = straight.emit(k, o.across, x, constant) end
    o.finish(f, results)
  end
end

-- build(kept, held): the kernel with as many held columns as its registers allow, with constants in registers if they fit.
local function with_most_held(target, columns, build)
  local why
  local function try(kept, held)
    local kernel = build(kept, held)
    local map, cannot = registers.allocate(kernel, target)
    why = why or cannot
    return map and kernel
  end
  for held = target.registers < 32 and 0 or math.min(columns, 3), 0, -1 do
    local kernel = try(true, held)
    if kernel then return kernel end
  end
  return try(false, 0) or nil, why
end

-- Whole vectors in a loop, then the lanes that are left: body(count) with count nil for a whole one.
local function each_vector(k, channels, body, step)
  local whole = channels // k.lanes
  k:loop(whole, function()
    body()
    step()
  end)
  if channels % k.lanes ~= 0 then body(channels % k.lanes) end
end

-- Of an element that is loaded: the matrix' name in small letters, row, column.
local function element(m, y, x) return ("%s%d_%d"):format(m.from:lower(), y - 1, x - 1) end

local function load_range(k, r, a, count)
  if count then k:load(r, a, 0, count) else k:load(r, a) end
end

local function numbers(low, high)
  local list = {}
  for i = low, high do list[#list + 1] = i end
  return list
end

---- the input: V = BT d B -------------------------------------------------------------------------------------------------------

local function channels_text(k, channels)
  return channels % k.lanes == 0 and ("%d channels, %d at a time"):format(channels, k.lanes)
    or ("%d channels, %d at a time and %d at last"):format(channels, k.lanes, channels % k.lanes)
end

local function about_input(k, o, m)
  local function part(axis, what)
    if axis.low == 0 and axis.high == axis.scheme.size then return "" end
    if axis.low >= axis.high then return ("; no %s of it is in the tensor: zeros"):format(what) end
    return ("; its %ss %d to %d are in the tensor, the others are zeros"):format(what, axis.low, axis.high - 1)
  end
  return ("%s = %s %s %s of one tile, %s: %s is a window of %d x %d pixels%s%s%s. Frequency f of %s stands at f * %d."):format(m.to, m.left,
    m.from, m.right, channels_text(k, o.channels), m.from, o.h.scheme.size, o.w.scheme.size, o.phase or "", part(o.h, "row"),
    part(o.w, "column"), m.to, o.apart)
end

-- o: h and w: {scheme, low, high, at(f): where its frequency is}; pixel, row: elements between neighbours; channels; frequencies'
-- distance `apart`; `columns`: frequencies of a row; phase: words about the window; m: names of the matrices, where they are others.
function transform.input(p, target, name, o)
  local m = o.m or { to = "V", left = "BT", from = "d", right = "B" }
  local inside = o.h.low < o.h.high and o.w.low < o.w.high
  local h_low, h_high = o.h.low, inside and o.h.high or o.h.low
  local along = straight.of(o.w.scheme.BT, straight.present(o.w.scheme.size, o.w.low, o.w.high))
  local across = straight.of(o.h.scheme.BT, straight.present(o.h.scheme.size, h_low, h_high))
  return with_most_held(target, #along.results, function(kept, held)
    local k = program.new { name = name, type = p.type, target = target }
    k.about = about_input(k, o, m)
    local from, to = k:pointer("window", "in"), k:pointer(m.to:lower(), "out")
    local constant, slots = constants(k, kept, { along, across }), {}
    local function vector(count)
      local zero
      two_dimensions(k, { rows = numbers(h_low + 1, h_high), along = along, across = across, slots = slots, m = m,
        load = function(y)
          local x = {}
          for i = 1, o.w.scheme.size do
            x[i] = i > o.w.low and i <= o.w.high and function()
              local r = k:vector(element(m, y, i))
              load_range(k, r, k:at(from, (y - 1) * o.row + (i - 1) * o.pixel), count)
              return r
            end
          end
          return x
        end,
        finish = function(fw, results)
          for fh, r in ipairs(results) do
            if not r and not zero then zero = k:vector "zero"; k:zero(zero) end
            k:store(k:at(to, (o.h.at(fh) * o.columns + o.w.at(fw)) * o.apart), r or zero)
          end
        end }, held, constant)
    end
    each_vector(k, o.channels, vector, function() k:advance(from, k.lanes); k:advance(to, k.lanes) end)
    return k:finish()
  end)
end

---- the output: Y = AT M A, with the epilogue -----------------------------------------------------------------------------------

-- o: h and w: {scheme, at}; apart, columns and m as above; pixel, row, channels (of the column tile), stream; sums, sums_apart:
-- how many there are to be added, and where.
function transform.output(p, target, name, o)
  local m = o.m or { to = "Y", left = "AT", from = "M", right = "A" }
  local along, across = straight.of(o.w.scheme.AT), straight.of(o.h.scheme.AT)
  return with_most_held(target, #along.results, function(kept, held)
    local k = program.new { name = name, type = p.type, target = target }
    local forward = p.pass == "forward"
    k.about = ("%s = %s %s %s of one tile%s, %s: %d x %d outputs from %d x %d frequencies, of which f stands at f * %d."):format(m.to, m.left,
      m.from, m.right, forward and p.bias and " and the bias" or "", channels_text(k, o.channels), o.h.scheme.outputs, o.w.scheme.outputs,
      o.h.scheme.size, o.w.scheme.size, o.apart)
    local from = k:pointer(m.from:lower(), "in")
    local bias = forward and p.bias and k:pointer("bias", "in")
    local residual = forward and p.epilogue.residual and k:pointer("residual", "in")
    local to = k:pointer("out", "out")
    local constant, slots = constants(k, kept, { along, across }), {}
    local function vector(count)
      two_dimensions(k, { rows = numbers(1, o.h.scheme.size), along = along, across = across, slots = slots, m = m,
        load = function(fh)
          local x = {}
          for fw = 1, o.w.scheme.size do
            x[fw] = function()
              local r = k:vector(element(m, fh, fw))
              local at = (o.h.at(fh) * o.columns + o.w.at(fw)) * o.apart
              k:load(r, k:at(from, at))
              for i = 1, (o.sums or 1) - 1 do k:add(r, r, k:memory(k:at(from, at + i * o.sums_apart))) end
              return r
            end
          end
          return x
        end,
        finish = function(column, results)
          for row, r in ipairs(results) do
            local at = (row - 1) * o.row + (column - 1) * o.pixel
            if forward then
              parts.epilogue(k, p, r, k:vector "e", bias and k:at(bias), residual and k:at(residual, at), 0, count or k.lanes)
            end
            if o.stream and not count then k:stream(k:at(to, at), r) else k:store(k:at(to, at), r, 0, count or k.lanes) end
          end
        end }, held, constant)
    end
    each_vector(k, o.channels, vector, function()
      for _, pointer in ipairs { from, bias or false, residual or false, to } do
        if pointer then k:advance(pointer, k.lanes) end
      end
    end)
    return k:finish()
  end)
end

---- weights: U = G g GT ---------------------------------------------------------------------------------------------------------

-- o: h, w: schemes; tap(y, x): where a tap (from 0) is; row: elements between the rows of the reduction; tile: the column tile;
-- apart: elements between the frequencies; `columns`: frequencies of a row; half: only along w, rows of taps stay, side by side
-- (half.lua). `rows` is an argument.
function transform.weights(p, target, name, o)
  local m = { to = o.half and "H" or "U", left = o.half and "" or "G", from = "g", right = "GT" }
  local along, across = straight.of(o.w.G), straight.of(o.h.G)
  local function place(fh, fw)
    return o.half and (fw - 1) * o.apart + (fh - 1) * o.tile.width or ((fh - 1) * o.columns + fw - 1) * o.apart
  end
  return with_most_held(target, #along.results, function(kept, held)
    local k = program.new { name = name, type = p.type, target = target }
    k.about = ("%s = %s of the %d x %d taps g between each input channel (a row) and %d output channels in the lanes. %s stands at f * %d.")
      :format(m.to, o.half and "g GT" or "G g GT", o.h.taps, o.w.taps, o.tile.width,
        o.half and "Column f of frequencies, a row of taps after the other," or "Frequency f of U", o.apart)
    local from, to, rows = k:pointer("weights", "in"), k:pointer("u", "out"), k:count("rows")
    local constant, slots = constants(k, kept, { along, across }), {}
    local function vector(v)
      two_dimensions(k, { rows = numbers(1, o.h.taps), along = along, across = across, slots = slots, m = m,
        load = function(y)
          local x = {}
          for i = 1, o.w.taps do
            x[i] = function()
              local r = k:vector(element(m, y, i))
              k:load(r, k:at(from, o.tap(y - 1, i - 1) + v * k.lanes), 0, v == o.tile.vectors - 1 and o.tile.last or k.lanes)
              return r
            end
          end
          return x
        end,
        finish = function(fw, results)
          for fh, r in ipairs(results) do k:store(k:at(to, place(fh, fw) + v * k.lanes), r) end
        end }, held, constant)
    end
    k:loop(rows, function()
      for v = 0, o.tile.vectors - 1 do vector(v) end
      k:advance(from, o.row)
      k:advance(to, o.half and o.h.taps * o.tile.width or o.tile.width)
    end)
    return k:finish()
  end)
end

---- the product: M = V U, for one frequency -------------------------------------------------------------------------------------

-- o: tiles (rows of V), vectors, channels (of the sum), adds: to what is in M, row: elements between the rows of V, width: of U and M.
function transform.product(p, target, name, o)
  local lanes, fetch = parts.lanes_of(p, target), {}
  for n = 1, o.prefetch and o.vectors or 0 do fetch[n] = { "u", o.prefetch + (n - 1) * lanes, 1 } end
  return tile.kernel { name = name, type = p.type, target = target,
    about = ("M[t][c] = sum over i of V[t][i] * U[i][c] at one frequency: i is one of %d input channels, t one of %d tiles, c a lane of %d "
      .. "vector%s of output channels. acc<t>_<v> stays in registers through the sum%s."):format(o.channels, o.tiles, o.vectors,
      o.vectors == 1 and "" or "s", o.adds and ", and is added to what is in M" or ""),
    arguments = { { "v", "in" }, { "u", "in" }, { "m", o.adds and "inout" or "out" } },
    sizes = { t = o.tiles, v = o.vectors }, registers = { "passing", "sums", "held" },
    sums = { pointer = "m", register = "acc", { "t", o.width }, { "v", lanes } },
    held = { pointer = "u", register = "u", { "v", lanes } }, passing = { pointer = "v", register = "a", { "t", o.row } },
    body = { { zero = {} },
      { loop = o.channels, steps = { { "v", 1 }, { "u", o.width } }, { load = {} }, { fetch = fetch }, { multiply = {} } },
      { finish = o.adds and { "added_in_memory", "stored" } or { "stored" } } } }
end

---- the next block's input, fetched into the second cache -----------------------------------------------------------------------

function transform.fetch(p, target, name, lines)
  local k = program.new { name = name, type = p.type, target = target }
  k.about = "Fetches a share of the next block's input into the second cache."
  local from = k:pointer("next", "in")
  local line = 64 // k.size
  k:loop((lines + 3) // 4, function()
    for i = 0, 3 do k:prefetch(k:at(from, i * line), 2) end
    k:advance(from, 4 * line)
  end)
  return k:finish()
end

return transform
