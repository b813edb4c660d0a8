-- half.lua: weights transformed along one axis beforehand, along the other beside the products.
--
-- Where tiles are few, the run of U = G g GT is bound by reading U. H = g GT is half as long, or less: rows of taps in
-- place of rows of frequencies. A product kernel takes one column of frequencies for several of its rows: it makes
-- their U from the taps of H in registers and multiplies them there, so that nothing of U is ever stored. H is made
-- beforehand (`half`), or of each column tile right before its products, in the thread's scratch (`fuse`): with weights
-- that change, nothing is written twice then.
--     H [column tile][column of frequencies][channel of d][row of taps][channel of Y]
local straight = require "straight"
local toomcook = require "toomcook"
local cut = require "tiles"
local tile = require "tile"
local grid = require "rewrite/winograd/grid"
local blocks = require "rewrite/winograd/blocks"
local transform = require "rewrite/winograd/transform"
local half = {}

---- H -----------------------------------------------------------------------------------------------------------------

local zero, one = toomcook.fraction(0), toomcook.fraction(1)

-- What a row of taps is multiplied by: powers of the first point whose negative is one, too, whose rows of G are sums
-- then.
local function powers(scheme)
  local p, list, points = one, { one }, scheme.points
  for i = #points, 1, -1 do
    for j = i + 1, #points do p = points[i] == -points[j] and points[i] or p end
  end
  for i = 2, scheme.taps do list[i] = list[i - 1] * p end
  return list
end

-- A transform along h that leaves the rows of taps, but for their factors.
function half.rows(scheme)
  local G, factors = {}, powers(scheme)
  for i = 1, scheme.taps do
    G[i] = {}
    for j = 1, scheme.taps do G[i][j] = i == j and factors[i] or zero end
  end
  return { taps = scheme.taps, size = scheme.taps, G = G }
end

---- what a product kernel takes ---------------------------------------------------------------------------------------

-- G for the rows of H with 1 in front of each row, powers of the point that remain, and what was there: sums are
-- multiplied by it in the end.
local function scaled(scheme)
  local rows, factors, taken = {}, {}, powers(scheme)
  for f, row in ipairs(scheme.G) do
    local first = 1
    while row[first] == zero do first = first + 1 end
    factors[f], rows[f] = row[first] / taken[first], {}
    for i, x in ipairs(row) do rows[f][i] = x / taken[i] / factors[f] end
  end
  return rows, factors
end

-- Rows +p and -p share most of their operations.
local function mirrored(a, b)
  for i, x in ipairs(a) do
    if x ~= b[i] and x ~= -b[i] then return false end
  end
  return true
end

-- What is made together of the rows of a column: {rows of frequencies, pieces: of tiles {first, count} for each, sums}:
-- two that share their operations where a kernel of `most` sums has room for both, else one, of as many tiles as there
-- is room.
local function units_of(s, block, fw, G, most)
  local units = {}
  for _, fh in ipairs(grid.frequency_runs(s.h, block.h.tiles[2] > 0)) do
    local first, count = blocks.having(block.classes, fh.big_only, fw.big_only)
    for f = fh.first, fh.first + (count > 0 and fh.count or 0) - 1 do
      local before = units[#units]
      local fits = before and #before.rows == 1 and before.rows[1] == f - 1 and before.sums + count <= most
      if fits and mirrored(G[f], G[f + 1]) then
        before.rows[2], before.pieces[2], before.sums = f, { first = first, count = count }, before.sums + count
      else
        for _, piece in ipairs(cut.even_pieces(count, most)) do
          units[#units + 1] = { rows = { f }, pieces = { { first = first + piece.first, count = piece.size } },
            sums = piece.size, order = #units }
        end
      end
    end
  end
  return units
end

-- Adds a unit, with the program of its rows, to a kernel {units, sums, key}.
local function add_unit(kernel, unit, G, factors)
  local matrix = {}
  unit.factors = {}
  for i, f in ipairs(unit.rows) do
    matrix[i], unit.factors[i] = G[f + 1], toomcook.number(factors[f + 1])
    kernel.key = ("%s %d:%d+%d"):format(kernel.key, f, unit.pieces[i].first, unit.pieces[i].count)
  end
  unit.program = straight.of(matrix, nil, true)
  table.insert(kernel.units, unit)
  kernel.sums = kernel.sums + unit.sums
end

-- The kernels of a column of frequencies: the largest units first, each where there is room.
local function kernels_of(s, block, fw)
  local most, list, G, factors = s.schedule.rows, {}, scaled(s.h.schemes[1])
  local units = units_of(s, block, fw, G, most)
  table.sort(units, function(a, b) return a.sums > b.sums or a.sums == b.sums and a.order < b.order end)
  for _, unit in ipairs(units) do
    local n = 1
    while list[n] and list[n].sums + unit.sums > most do n = n + 1 end
    list[n] = list[n] or { units = {}, sums = 0, key = "" }
    add_unit(list[n], unit, G, factors)
  end
  return list
end

-- Calls body(run of columns of frequencies, kernels).
function half.each_column(s, block, body)
  for _, fw in ipairs(grid.frequency_runs(s.w, block.w.tiles[2] > 0)) do
    local list = kernels_of(s, block, fw)
    if #list > 0 then body(fw, list) end
  end
end

---- the product -------------------------------------------------------------------------------------------------------

local function about(o)
  local rows = {}
  for _, unit in ipairs(o.units) do table.move(unit.rows, 1, #unit.rows, #rows + 1, rows) end
  return ("M[f][t][c] = sum over i of V[f][t][i] * U[f][i][c] for rows %s of a column of frequencies, %d sums in all: "
    .. "i is one of %d input channels, t a tile, c a lane of %d vector%s of output channels. U = G h, but for a factor "
    .. "of each row, is made from the %d rows of taps h of H; acc<f>_<t>_<v> stays in registers through the sum, gets "
    .. "the factor at the end%s."):format(table.concat(rows, ", "), o.sums, o.channels, o.vectors,
    o.vectors == 1 and "" or "s", o.taps, o.adds and " and is added to what is in M" or "")
end

-- The sums of a unit's row i.
local function reach(unit, i)
  local piece = unit.pieces[i]
  return { f = { unit.rows[i] }, t = tile.span(piece.first, piece.first + piece.count - 1) }
end

-- Inputs of a unit that its operations overwrite have to be loaded again.
local function overwritten(unit, input)
  for _, op in ipairs(unit.program.operations) do
    if op.op == "fma" and op.x == input then return true end
  end
end

-- What is fetched with each channel: of the weights that are transformed next, and of H.
local function fetched(o, line)
  local list = {}
  for i = 0, (o.fetch or 0) - 1 do
    for n = 0, o.width // line - 1 do list[#list + 1] = { "next", i * o.fetch_apart + n * line, 2 } end
  end
  for n = 0, (o.ahead or 0) - 1 do
    list[#list + 1] = { "h", o.channels * o.taps * o.width + (o.ahead_first + n) * line, 1 }
  end
  return list
end

-- U of a unit's rows for vector n. how.loaded: taps that units share, false where each loads its own.
local function rows_of(t, o, unit, n, how)
  local x, k = {}, t.k
  for i = 1, o.taps do
    local function load()
      local r = k:vector("h", { i - 1, n })
      k:load(r, k:at(t.pointers.h, ((i - 1) * o.vectors + n) * k.lanes))
      return r
    end
    x[i] = function()
      if not how.loaded or overwritten(unit, i) then return load() end
      how.loaded[i << 8 | n] = how.loaded[i << 8 | n] or load()
      return how.loaded[i << 8 | n]
    end
  end
  return straight.emit(k, unit.program, x, how.constant)
end

-- U of a unit's rows, which are held then.
local function hold(t, o, unit, how)
  local rows = unit.rows
  t.k:comment(("U of row%s %s of frequencies"):format(#rows > 1 and "s" or "", table.concat(rows, " and ")))
  for n = 0, o.vectors - 1 do
    for i, r in ipairs(rows_of(t, o, unit, n, how)) do tile.hold(t, r, { f = rows[i], v = n }) end
  end
end

-- An ending: a sum by its factor into M, or added to it.
local function scaled_sum(o, how)
  return function(t, sum, node)
    local k, factor, to = t.k, node.factor, tile.place(t, t.sums)
    if factor ~= 1 and how.factor ~= factor then
      how.factor, how.scale = factor, k:vector "scale"
      k:constant(how.scale, factor)
    end
    if o.adds then
      local before = k:vector "before"
      k:load(before, to)
      if factor ~= 1 then k:fma(before, sum, how.scale) else k:add(before, before, sum) end
      sum = before
    elseif factor ~= 1 then k:mul(sum, sum, how.scale) end
    k:store(to, sum)
  end
end

local function build(called, o, kept, shared)
  local lanes, programs, how = o.width // o.vectors, {}, {}
  local zeros, ends, line = {}, {}, { { fetch = fetched(o, 64 // o.size) }, function() how.loaded = shared and {} end }
  local ending = scaled_sum(o, how)
  for n, unit in ipairs(o.units) do
    programs[n], line[#line + 1] = unit.program, function(t) hold(t, o, unit, how) end
    for i in ipairs(unit.rows) do
      zeros[#zeros + 1], line[#line + 1] = { zero = reach(unit, i) }, { multiply = reach(unit, i) }
      ends[#ends + 1] = { finish = { ending }, reach = reach(unit, i), factor = unit.factors[i] }
    end
  end
  line.loop, line.steps = o.channels, { { "v", 1 }, { "h", o.taps * o.width }, o.fetch and { "next", o.fetch_row } }
  return tile.kernel { name = called.name, type = called.type, target = called.target, about = about(o),
    arguments = { { "v", "in" }, { "h", "in" }, { "m", o.adds and "inout" or "out" }, o.fetch and { "next", "in" } },
    sizes = { f = o.rows, t = o.tiles, v = o.vectors },
    sums = { pointer = "m", register = "acc", { "f", o.sums_apart }, { "t", o.width }, { "v", lanes } },
    held = { register = "u", { "f" }, { "v" } },
    passing = { pointer = "v", register = "a", once = true, fresh = true, { "f", o.apart }, { "t", o.row } },
    body = { function(t) how.constant = transform.constants(t.k, kept, programs) end, zeros, line, ends } }
end

-- o: units, sums: of them; size: of an element; rows, tiles: of frequencies, of a block; vectors, taps (rows of H),
-- channels (of the sum), width (of H and M), row: elements between tiles of V, apart, sums_apart: between the rows of
-- frequencies of V and of M; adds: to what is in M; fetch: of so many taps of the weights, fetch_apart from each other,
-- a row is fetched with each channel, fetch_row from row to row; ahead: of H, so many lines of each channel after those
-- of the sum are fetched into the first cache, from the line ahead_first on. Constants, and taps that several units
-- read, stay in registers if there are enough.
function half.product(called, o)
  local ways = { { true, true }, { true, false }, { false, true }, { false, false } }
  return transform.fitting(called.target, ways, function(kept, shared) return build(called, o, kept, shared) end)
end

---- the estimate ------------------------------------------------------------------------------------------------------

local counted = setmetatable({}, { __mode = "k" })

local function work_of(scheme)
  local G, work = scaled(scheme), { [true] = { operations = 0, loads = 0 }, [false] = { operations = 0, loads = 0 } }
  local function add(together, matrix)
    local sum = work[together]
    for _, op in ipairs(straight.of(matrix, nil, true).operations) do -- additions have a unit of their own
      sum.operations = sum.operations + (op.c and 1 or 0)
    end
    sum.loads = sum.loads + scheme.taps
  end
  local f = 1
  while f <= #G do
    local pair = G[f + 1] and mirrored(G[f], G[f + 1]) and G[f + 1] or nil
    add(true, { G[f], pair })
    add(false, { G[f] })
    if pair then add(false, { pair }) end
    f = f + (pair and 2 or 1)
  end
  return work
end

-- Multiplications that make a column of U from H, a lane vector, and the rows of H that are read: with rows that share
-- operations made together, or each row alone. Counted once for a scheme.
function half.work(scheme, together)
  counted[scheme] = counted[scheme] or work_of(scheme)
  return counted[scheme][together]
end

return half
