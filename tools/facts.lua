-- facts.lua SOURCE_DIR OUT.h: build-time script, run by tools/embed.c: what generator and runtime both have to know, as C, from the generator's rows.
local source, path = ...
package.path = source .. "/gen/?.lua"
local accuracies, targets, space = require "accuracies", require "targets", require "space"

local budgets = {}
for i, row in ipairs(accuracies) do budgets[i] = ("%.17g"):format(row.budget) end

local out = assert(io.open(path, "w"))
out:write("/* Made by tools/facts.lua: rows of gen/accuracies.lua, gen/targets.lua and gen/space.lua. */\n",
  ("#define CG_BUDGETS {%s} /* by convgen_accuracy */\n"):format(table.concat(budgets, ", ")),
  ('#define CG_FAMILY_WORDS "%s"\n'):format(table.concat(space.words(), " ")),
  ('#define CG_TARGET_WORDS "%s"\n'):format(table.concat(targets.order, " ")),
  ('#define CG_TARGET_LIST "%s"\n'):format(table.concat(targets.order, ", ")))
assert(out:close())
