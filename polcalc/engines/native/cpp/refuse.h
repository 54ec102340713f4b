// What is said of a call that makes no sense.
#pragma once

#include <stdexcept>
#include <string>

[[noreturn]] inline void refuse(const std::string& what) {
  throw std::invalid_argument("native engine: " + what);
}

inline void check_between(const char* name, int value, int least, int most) {
  if (value < least || value > most)
    refuse("`" + std::string(name) + "` must be from " + std::to_string(least) + " to " +
           std::to_string(most) + "; got " + std::to_string(value) + ".");
}
