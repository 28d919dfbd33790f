// For the compiler's -include: lets csrc/common/isa.cc find AMX on every processor, whose tile registers tiles.h
// emulates.
#pragma once

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace pyemo::emulation {

inline int cpuid(unsigned leaf, unsigned subleaf, unsigned* eax, unsigned* ebx, unsigned* ecx, unsigned* edx) {
    const int found = __get_cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
    constexpr unsigned kTileBf16 = 1u << 24 | 1u << 22;
    if (found && leaf == 7 && subleaf == 0) *edx |= kTileBf16;
    return found;
}

// Nobody needs the system's permission for registers that are not there.
inline long permission(long, long, long) { return 0; }

}  // namespace pyemo::emulation

#define __get_cpuid_count pyemo::emulation::cpuid
#define syscall pyemo::emulation::permission
