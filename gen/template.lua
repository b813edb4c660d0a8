-- template.lua: fills the frames in templates/.
--
-- A key stands in a template as @KEY@: capitals, digits and _. Every key of a template needs a value and every value a
-- key, so that neither can be forgotten. Values are not searched for keys.
local template = {}

local function complain(name, what, key) error(("template %s: %s @%s@"):format(name, what, key), 0) end

function template.fill(name, values)
  local used = {}
  local text = template_text(name):gsub("@([%u%d_]+)@", function(key)
    if values[key] == nil then complain(name, "no value for", key) end
    used[key] = true
    return tostring(values[key])
  end)
  for key in pairs(values) do
    if not used[key] then complain(name, "has no place for", key) end
  end
  return text
end

return template
