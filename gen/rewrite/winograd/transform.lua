-- transform.lua: the kernel programs of Winograd's three transforms and of the product between them.
--
-- A transform of two dimensions is straight-line code along the rows, then along the columns; what lies between is held
-- in registers as far as they go and in slots beyond. Channels are in the lanes. called: what a program is {name, type,
-- target}; p: the problem; o: the table that is described.
local program = require "program"
local registers = require "registers"
local straight = require "straight"
local parts = require "parts"
local tile = require "tile"
local transform = {}

---- two dimensions ----------------------------------------------------------------------------------------------------

-- The different constants of several.
local function constants_of(several)
  local list, seen = {}, {}
  for _, s in ipairs(several) do
    for _, c in ipairs(straight.constants(s)) do
      if not seen[c] then list[#list + 1], seen[c] = c, true end
    end
  end
  return list
end

-- Gives registers for constants: all at once before the loops where they fit, else each where it is used.
function transform.constants(k, kept, list)
  local known = {}
  local function new(c)
    local r = k:vector "c"
    k:constant(r, c)
    return r
  end
  if not kept then return new end
  for _, c in ipairs(constants_of(list)) do known[c] = new(c) end
  return function(c) return known[c] end
end

-- Rows of inputs, along the rows: {[row] = results}, which are registers in the first `held` columns, slots beyond.
local function along_rows(k, o, how)
  local middle, m = {}, o.m
  for y = o.first, o.last do
    k:comment(("%s %s, row %d"):format(m.from, m.right, y - 1))
    local x = {}
    for i = 1, o.along.inputs do x[i] = o.present(i) and function() return o.load(y, i) end end
    middle[y] = straight.emit(k, o.along, x, how.constant)
    for f, r in ipairs(middle[y]) do
      if r and f > how.held then
        middle[y][f] = how.slots[y * 64 + f] or k:slot(("%s%s%d_%d"):format(m.from, m.right, y - 1, f - 1))
        how.slots[y * 64 + f] = middle[y][f]
        k:spill(middle[y][f], r)
      end
    end
  end
  return middle
end

-- A value from between, where an operation first needs it.
local function filled(k, from)
  return from and from.kind == "slot" and function()
    local r = k:vector "x"
    k:fill(r, from)
    return r
  end or from
end

-- o: first, last: rows that are there, present(i): whether a column is; load(row, column) gives inputs for `along`,
-- whose results of a column go into `across`; finish(column, results); m: what the matrices are called, to = left from
-- right.
local function two_dimensions(k, o, how)
  local middle, m = along_rows(k, o, how), o.m
  for f = 1, #o.along.results do
    local x, results = {}, {}
    for y = 1, o.across.inputs do x[y] = filled(k, middle[y] and middle[y][f]) end
    k:comment(("%s = %s (%s %s), column %d"):format(m.to, m.left, m.from, m.right, f - 1))
    for i = 1, #o.across.results do results[i] = false end -- where all inputs of a column are zero
    o.finish(f, o.along.results[f] and straight.emit(k, o.across, x, how.constant) or results)
  end
end

-- The first kernel of several ways to make it whose registers fit, none shared with a mask, or nil and why the first
-- does not. What does not fit in the registers least(way), if it is given, says that a way needs at least, is not made.
function transform.fitting(target, ways, make, least)
  local why
  local function try(way)
    local kernel = make(table.unpack(way))
    local map, cannot = registers.allocate(kernel, target)
    cannot = cannot or map.short
    why = why or cannot
    return not cannot and kernel
  end
  for _, way in ipairs(ways) do
    local kernel = (not least or least(table.unpack(way)) <= target.registers) and try(way)
    if kernel then return kernel end
  end
  return try(ways[1]) or nil, why
end

-- What two dimensions need at least: in the last row, in the first column that is held, in those that are not.
local function least(along, across, kept, held)
  local rows, columns, others, constants = straight.reads(across), 0, false
  if rows == 0 then return 0 end
  for f, result in ipairs(along.results) do
    if f <= held then columns = columns + (result and 1 or 0) else others = others or result end
  end
  local row = (rows - 1) * columns + straight.registers(along, false, kept)
  local first = columns > 0 and (columns - 1) * rows + straight.registers(across, true, kept) or 0
  local other = others and straight.registers(across, false, kept) or 0
  return (kept and #constants_of { along, across } or 0) + math.max(row, first, other)
end

-- The kernel of a transform, with as many held columns as its registers allow, with constants in registers if they fit.
-- open(k) makes the pointers; it gives o, as above, and body(once), which calls once() where a vector is transformed.
local function built(called, along, across, open)
  local ways = {}
  for held = called.target.registers < 32 and 0 or math.min(#along.results, 3), 0, -1 do
    ways[#ways + 1] = { true, held }
  end
  ways[#ways + 1] = { false, 0 }
  return transform.fitting(called.target, ways, function(kept, held)
    local k = program.new(called)
    local o, body = open(k)
    o.along, o.across = along, across
    local how = { held = held, constant = transform.constants(k, kept, { along, across }), slots = {} }
    body(function() two_dimensions(k, o, how) end)
    return k:finish()
  end, function(kept, held) return least(along, across, kept, held) end)
end

-- What `built` takes as a body: whole vectors of channels in a loop, then the lanes that are left, which o.lanes says.
local function by_vectors(k, o, channels, pointers)
  return function(once)
    local function vector(lanes)
      o.lanes, o.zero = lanes, nil
      once()
    end
    k:loop(channels // k.lanes, function()
      vector()
      for _, pointer in ipairs(pointers) do k:advance(pointer, k.lanes) end
    end)
    if channels % k.lanes ~= 0 then vector(channels % k.lanes) end
  end
end

-- A register for an element that is loaded: the matrix' name in small letters, row, column.
local function element(k, m, y, x) return k:vector(m.from:lower(), { y - 1, x - 1 }) end

local function all() return true end

-- Where a frequency of rows by one of columns is; a nested scheme says where its own are among the larger one's.
local function place(o, h, w, fh, fw)
  return (((h.at and h.at[fh] or fh) - 1) * o.columns + (w.at and w.at[fw] or fw) - 1) * o.apart
end

-- What a kernel makes of a tile, m: the names of the matrices; more: words behind.
local function heading(k, m, channels, more)
  local rest = channels % k.lanes
  return ("%s = %s %s %s of one tile%s, %d channels, %d at a time%s"):format(m.to, m.left, m.from, m.right, more,
    channels, k.lanes, rest == 0 and "" or (" and %d at last"):format(rest))
end

---- the input: V = BT d B ---------------------------------------------------------------------------------------------

local function about_input(k, o, m)
  local function part(axis, what)
    if axis.low == 0 and axis.high == axis.scheme.size then return "" end
    if axis.low >= axis.high then return ("; no %s of it is in the tensor: zeros"):format(what) end
    return ("; its %ss %d to %d are in the tensor, the others are zeros"):format(what, axis.low, axis.high - 1)
  end
  return ("%s: %s is a window of %d x %d pixels%s%s%s. Frequency f of %s stands at f * %d."):format(
    heading(k, m, o.channels, ""), m.from, o.h.scheme.size, o.w.scheme.size, o.phase or "", part(o.h, "row"),
    part(o.w, "column"), m.to, o.apart)
end

-- h and w: {scheme, low, high: the inputs that are there}; pixel, row: elements between neighbours; channels;
-- frequencies' distance `apart`; `columns`: frequencies of a row; phase: words about the window; m: names of the
-- matrices, where they are others.
function transform.input(called, o)
  local m, h, w = o.m or { to = "V", left = "BT", from = "d", right = "B" }, o.h, o.w
  local h_high = w.low < w.high and math.max(h.high, h.low) or h.low
  local along = straight.of(w.scheme.BT, straight.present(w.scheme.size, w.low, w.high))
  local across = straight.of(h.scheme.BT, straight.present(h.scheme.size, h.low, h_high))
  return built(called, along, across, function(k)
    k.about = about_input(k, o, m)
    local from, to = k:pointer("window", "in"), k:pointer(m.to:lower(), "out")
    local two = { m = m, first = h.low + 1, last = h_high, present = function(i) return i > w.low and i <= w.high end }
    function two.load(y, i)
      local r = element(k, m, y, i)
      k:load(r, k:at(from, (y - 1) * o.row + (i - 1) * o.pixel), 0, two.lanes)
      return r
    end
    function two.finish(fw, results)
      for fh, r in ipairs(results) do
        if not r and not two.zero then two.zero = k:vector "zero"; k:zero(two.zero) end
        k:store(k:at(to, place(o, h.scheme, w.scheme, fh, fw)), r or two.zero)
      end
    end
    return two, by_vectors(k, two, o.channels, { from, to })
  end)
end

---- the output: Y = AT M A, with the epilogue -------------------------------------------------------------------------

local function about_output(k, p, o, m)
  local bias = p.pass ~= "backward_weights" and p.bias and " and the bias" or ""
  return ("%s: %d x %d outputs from %d x %d frequencies, of which f stands at f * %d."):format(
    heading(k, m, o.channels, bias), o.h.outputs, o.w.outputs, o.h.size, o.w.size, o.apart)
end

-- h and w: schemes; apart, columns and m as above; pixel, row, channels (of the column tile), stream; sums, sums_apart:
-- how many there are to be added, and where.
function transform.output(p, called, o)
  local m, gathers = o.m or { to = "Y", left = "AT", from = "M", right = "A" }, p.pass ~= "backward_weights"
  return built(called, straight.of(o.w.AT), straight.of(o.h.AT), function(k)
    local pointers = {}
    local function pointer(name, access)
      pointers[#pointers + 1] = k:pointer(name, access)
      return pointers[#pointers]
    end
    k.about = about_output(k, p, o, m)
    local from, bias = pointer(m.from:lower(), "in"), gathers and p.bias and pointer("bias", "in")
    local slope = gathers and parts.slopes(p) and pointer("slope", "in")
    local residual, to = gathers and p.epilogue.residual and pointer("residual", "in"), pointer("out", "out")
    local two = { m = m, first = 1, last = o.h.size, present = all }
    function two.load(fh, fw)
      local r, at = element(k, m, fh, fw), place(o, o.h, o.w, fh, fw)
      k:load(r, k:at(from, at))
      for i = 1, (o.sums or 1) - 1 do k:add(r, r, k:memory(k:at(from, at + i * o.sums_apart))) end
      return r
    end
    function two.finish(column, results)
      for row, r in ipairs(results) do
        local at = (row - 1) * o.row + (column - 1) * o.pixel
        if gathers then
          local with = { bias = bias and k:at(bias), slope = slope and k:at(slope),
            residual = residual and k:at(residual, at), first = 0, count = two.lanes }
          parts.epilogue(k, p, r, k:vector "e", with)
        end
        if o.stream and not two.lanes then k:stream(k:at(to, at), r) else k:store(k:at(to, at), r, 0, two.lanes) end
      end
    end
    return two, by_vectors(k, two, o.channels, pointers)
  end)
end

---- weights: U = G g GT -----------------------------------------------------------------------------------------------

local function about_weights(o, m)
  return ("%s = %s of the %d x %d taps g between each input channel (a row) and %d output channels in the lanes. "
    .. "%s stands at f * %d."):format(m.to, o.half and "g GT" or "G g GT", o.h.taps, o.w.taps, o.tile.width,
      o.half and "Column f of frequencies, a row of taps after the other," or "Frequency f of U", o.apart)
end

-- h, w: schemes; tap(y, x): where a tap (from 0) is; row: elements between the rows of the reduction; tile: the column
-- tile; apart: elements between the frequencies; `columns`: frequencies of a row; half: only along w, rows of taps
-- stay, side by side (half.lua). `rows` is an argument.
function transform.weights(called, o)
  local m = { to = o.half and "H" or "U", left = o.half and "" or "G", from = "g", right = "GT" }
  local row = o.half and o.h.taps * o.tile.width or o.tile.width
  return built(called, straight.of(o.w.G), straight.of(o.h.G), function(k)
    k.about = about_weights(o, m)
    local from, to, rows = k:pointer("weights", "in"), k:pointer("u", "out"), k:count "rows"
    local two, v = { m = m, first = 1, last = o.h.taps, present = all }, nil
    function two.load(y, i)
      local r = element(k, m, y, i)
      k:load(r, k:at(from, o.tap(y - 1, i - 1) + v * k.lanes), 0, v == o.tile.vectors - 1 and o.tile.last or k.lanes)
      return r
    end
    function two.finish(fw, results)
      for fh, r in ipairs(results) do
        local at = o.half and (fw - 1) * o.apart + (fh - 1) * o.tile.width or ((fh - 1) * o.columns + fw - 1) * o.apart
        k:store(k:at(to, at + v * k.lanes), r)
      end
    end
    return two, function(once)
      k:loop(rows, function()
        for n = 0, o.tile.vectors - 1 do
          v = n
          once()
        end
        k:advance(from, o.row)
        k:advance(to, row)
      end)
    end
  end)
end

---- the products of one frequency: M = V U, S = VT D ------------------------------------------------------------------

-- rows: of the sums, {axis, how many, elements between them of V, of the result}; vectors; arguments: V, what is held
-- and the result come first; body and about as a tile has them.
function transform.product(called, o)
  local lanes, axis, count, row, out = parts.lanes_of(called, called.target), table.unpack(o.rows)
  local held, sums = o.arguments[2][1], o.arguments[3][1]
  called.about, called.arguments, called.body = o.about, o.arguments, o.body
  called.sizes, called.registers = { [axis] = count, v = o.vectors }, { "passing", "sums", "held" }
  called.sums = { pointer = sums, register = "acc", { axis, out }, { "v", lanes } }
  called.held = { pointer = held, register = held, { "v", lanes } }
  called.passing = { pointer = "v", register = "a", { axis, row } }
  return tile.kernel(called)
end

---- the next block's input, fetched into the second cache -------------------------------------------------------------

function transform.fetch(called, lines)
  local k = program.new(called)
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
