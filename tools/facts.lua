-- facts.lua SOURCE_DIR OUT_DIR: build-time script, run by tools/embed.c: what generator and runtime both have to know, as C, from the
-- generator's rows. facts.h: all but the activations' insides; activations.h: those, for activation.c.
local source, folder = ...
package.path = source .. "/gen/?.lua;" .. source .. "/tools/?.lua"
local accuracies, targets, space, types = require "accuracies", require "targets", require "space", require "types"
local activations, functions, steps = require "activations", require "functions", require "steps"
local convgen = require "convgen"

local function each(list, text)
  local lines = {}
  for i, row in ipairs(list) do lines[i] = text(row) end
  return lines
end

local function write(name, text)
  local out = assert(io.open(folder .. "/" .. name, "w"))
  assert(out:write(text))
  assert(out:close())
end

---- facts.h -----------------------------------------------------------------------------------------------------------

local budgets, tiers, elements, sums = {}, {}, {}, {}
for i, row in ipairs(accuracies) do budgets[i], tiers[i] = ("%.17g"):format(row.budget), row.name end
for name, row in pairs(types.rows) do
  elements[row.number + 1], sums[row.number + 1] = name, types.rows[row.sums].number
end

-- "leaky:SLOPE[:FLOOR]"
local function spelled(row)
  local p = row.parameters or {}
  local last = p[2] and (p.absent and "[:%s]" or ":%s"):format(p[2]) or ""
  return row.name .. (p[1] and ":" .. p[1] or "") .. last .. (p.also or "")
end

local function offered(row) return row.name .. (row.parameters and ":" or "") end
local function name_of(row) return row.name end

local head = { "/* Made by tools/facts.lua: rows of the generator's accuracies.lua, targets.lua, types.lua, activations.lua, space.lua and convgen.lua. */",
  ("#define CG_BUDGETS {%s} /* by convgen_accuracy */"):format(table.concat(budgets, ", ")),
  ("#define CG_TYPE_SUMS {%s} /* by convgen_type: what it is computed in */"):format(table.concat(sums, ", ")) }
for _, row in ipairs { { "ACCURACY", tiers }, { "FAMILY", space.words() }, { "TARGET", targets.order }, { "TYPE", elements },
  { "ACTIVATION", each(activations.list, name_of) }, { "SHOWN", convgen.shown },
  { "NETWORK_SHOWN", convgen.network_shown } } do
  local name, words = row[1], row[2]
  table.insert(head, (('#define CG_%s_WORDS "%s"'):format(name, table.concat(words, " "))))
  table.insert(head, (('#define CG_%s_LIST "%s"'):format(name, table.concat(words, ", "))))
  table.insert(head, (('#define CG_%s_NAMES {"%s"}\nenum { CG_%s_COUNT = %d };'):format(name, table.concat(words, '", "'), name, #words)))
end
table.insert(head, ("enum { CG_FUNCTION_COUNT = %d };"):format(#functions.list))
table.insert(head, ('#define CG_EPILOGUE_LIST "%s, and residual, alone or before or after them: residual+relu, silu+residual"')
  :format(table.concat(each(activations.list, spelled), ", ")))
table.insert(head, ('#define CG_EPILOGUE_WORDS "%s residual residual+relu silu+residual"')
  :format(table.concat(each(activations.list, offered), " ")))
write("facts.h", table.concat(head, "\n") .. "\n")

---- activations.h -----------------------------------------------------------------------------------------------------

local check = [[
static cg_status check_%s(const convgen_epilogue *e)
{
    double lo = e->lo, hi = e->hi;
    (void)lo, (void)hi;
%s    return CONVGEN_OK;
}
]]

local function checked(row)
  return check:format(row.name, table.concat(each(row.legal or {}, function(rule)
    return ('    if (!(%s)) return cg_fail(CONVGEN_BAD_PROBLEM, "%s", %s);\n'):format(table.unpack(rule))
  end)))
end

-- What C makes of a row: the columns of activation.c's table.
local function columns(row)
  local p = row.parameters or {}
  local least = p.absent and #p - 1 or #p
  return ("    ROW(%s, %s, %d, %d, %s, %s, %s, %s)"):format(row.name:upper(), row.name, least, #p, p.absent or 0, row.steepest,
    row.registers ~= nil, row.slopes == true)
end

local rows = { table.unpack(activations.list, 2) } -- but none
local text = { "/* Made by tools/facts.lua: rows of the generator's activations.lua and functions.lua. */" }

for i, type_ in ipairs(elements) do if sums[i] == i - 1 then text[#text + 1] = steps.head(type_) end end

local function put_values(row)
  for i, type_ in ipairs(elements) do
    if sums[i] == i - 1 then text[#text + 1] = steps.text(row.name, type_, row.program) end
  end
  text[#text + 1] = ("static real exact_%s(real x, real lo, real hi) { return (void)lo, (void)hi, %s; }"):format(row.name, row.exact)
end

for _, row in ipairs(rows) do
  put_values(row)
  text[#text + 1] = checked(row) .. ('_Static_assert(CONVGEN_%s == %d, "convgen.h counts activations as gen/activations.lua does");')
    :format(row.name:upper(), row.number)
end
text[#text + 1] = "#define ACTIVATIONS(ROW) \\\n" .. table.concat(each(rows, columns), " \\\n")
for _, row in ipairs(functions.list) do put_values(row) end
text[#text + 1] = "#define FUNCTIONS(ROW) " .. table.concat(each(functions.list, function(row) return ("ROW(%s)"):format(row.name) end), " ")
write("activations.h", table.concat(text, "\n") .. "\n")
