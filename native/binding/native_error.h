// Native code throws a message and an errno name; src/native.ts makes the coded error of it.
#pragma once
#include <napi.h>

#include <cstring>
#include <system_error>
#include <utility>

namespace dwcp {

inline Napi::Error NativeError(Napi::Env env, const std::system_error& error) {
  Napi::Error thrown = Napi::Error::New(env, error.what());
  const char* name = strerrorname_np(error.code().value());
  thrown.Set("errno", Napi::String::New(env, name == nullptr ? "UNKNOWN" : name));
  return thrown;
}

// Runs `work`, turning a std::system_error into a JavaScript error with an `errno` name.
template <typename Work>
auto WithNativeErrors(Napi::Env env, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::system_error& error) {
    throw NativeError(env, error);
  }
}

}  // namespace dwcp
