#pragma once

#include <string>

namespace pyemo::sanitize {

// What a sanitizer that ends the program says last: how to repeat what it was doing.
void set_under_way(const std::string& text);

}  // namespace pyemo::sanitize
