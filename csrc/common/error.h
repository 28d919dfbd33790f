#pragma once

#include <stdexcept>

namespace pyemo {

// Arguments of a wrong shape or value are std::invalid_argument (ValueError in Python); of a wrong dtype, DTypeError
// (TypeError).
struct DTypeError : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

}  // namespace pyemo
