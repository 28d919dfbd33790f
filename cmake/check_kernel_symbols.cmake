# cmake -DNM=... -DISA=... -DOBJECTS=... -P check_kernel_symbols.cmake
#
# Fails if an object compiled for an instruction set defines a symbol outside that set's namespace: the linker could prefer it to
# the same inline function compiled for every machine, and older ones would stop at an illegal instruction.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only --extern-only --demangle "${object}" OUTPUT_VARIABLE symbols
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE "[^\n]* pyemo::${ISA}::[^\n]*\n" "" foreign "${symbols}")
  if(foreign)
    message(FATAL_ERROR "${object} defines symbols outside the namespace pyemo::${ISA}:\n${foreign}")
  endif()
endforeach()
