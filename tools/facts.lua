-- facts.lua SOURCE_DIR OUT.h: build-time script, run by tools/embed.c: what generator and runtime both have to know, as C, from the generator's rows.
local source, path = ...
package.path = source .. "/gen/?.lua"
local accuracies, targets, space, types, convgen = require "accuracies", require "targets", require "space", require "types", require "convgen"

local budgets, tiers, elements, sums = {}, {}, {}, {}
for i, row in ipairs(accuracies) do budgets[i], tiers[i] = ("%.17g"):format(row.budget), row.name end
for name, row in pairs(types.rows) do
  elements[row.number + 1], sums[row.number + 1] = name, types.rows[row.sums].number
end

local out = assert(io.open(path, "w"))
out:write("/* Made by tools/facts.lua: rows of the generator's accuracies.lua, targets.lua, types.lua, space.lua and convgen.lua. */\n",
  ("#define CG_BUDGETS {%s} /* by convgen_accuracy */\n"):format(table.concat(budgets, ", ")),
  ("#define CG_TYPE_SUMS {%s} /* by convgen_type */\n"):format(table.concat(sums, ", ")))
for _, row in ipairs { { "ACCURACY", tiers }, { "FAMILY", space.words() }, { "TARGET", targets.order }, { "TYPE", elements },
  { "SHOWN", convgen.shown } } do
  local name, words = row[1], row[2]
  out:write(('#define CG_%s_WORDS "%s"\n'):format(name, table.concat(words, " ")),
    ('#define CG_%s_LIST "%s"\n'):format(name, table.concat(words, ", ")),
    ('#define CG_%s_NAMES {"%s"}\nenum { CG_%s_COUNT = %d };\n'):format(name, table.concat(words, '", "'), name, #words))
end
assert(out:close())
