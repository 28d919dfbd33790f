#include "sanitizers.h"

#include <sanitizer/common_interface_defs.h>

#include <cstdio>

// Memory that was never written is all ones, a NaN of each floating type, which shows in any result it has a part in.
// The limit of what is filled is beyond any memory that is asked for here.
extern "C" const char* __asan_default_options() {
    return "malloc_fill_byte=255:max_malloc_fill_size=1073741824:detect_stack_use_after_return=1:handle_abort=1:"
           "handle_sigill=1";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

namespace pyemo::sanitize {

namespace {

char under_way[4096];

}  // namespace

void set_under_way(const std::string& text) {
    static const bool registered = [] {
        __sanitizer_set_death_callback([] { std::fputs(under_way, stderr); });
        return true;
    }();
    (void)registered;
    std::snprintf(under_way, sizeof under_way, "\nFAILED, see above: %s\n", text.c_str());
}

}  // namespace pyemo::sanitize
