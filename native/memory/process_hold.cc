#include "memory/process_hold.h"

#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>

namespace dwcp {
namespace {

// A thread in the kernel stops when it leaves it; one that hangs there for longer is not waited
// for.
constexpr auto kStopsWithin = std::chrono::seconds(2);
constexpr timespec kBetweenLooks{0, 20'000};

[[noreturn]] void Refused(int error, const char* step) {
  throw std::system_error(error, std::generic_category(), step);
}

std::string TaskFolder(pid_t pid) { return "/proc/" + std::to_string(pid) + "/task"; }

std::vector<pid_t> ThreadsOf(pid_t pid) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(TaskFolder(pid).c_str()), closedir);
  if (!folder) Refused(errno, "threads of the process");
  std::vector<pid_t> threads;
  while (const dirent* entry = readdir(folder.get())) {
    const pid_t thread = std::atoi(entry->d_name);
    if (thread > 0) threads.push_back(thread);
  }
  return threads;
}

// The name in parentheses may itself hold parentheses; the last one ends it.
char StateOf(pid_t pid, pid_t thread) {
  std::ifstream file(TaskFolder(pid) + "/" + std::to_string(thread) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t end = text.rfind(')');
  return end != std::string::npos && end + 2 < text.size() ? text[end + 2] : '\0';
}

}  // namespace

bool IsStopped(pid_t pid) {
  const std::vector<pid_t> threads = ThreadsOf(pid);
  return std::all_of(threads.begin(), threads.end(),
                     [pid](pid_t thread) { return StateOf(pid, thread) == 'T'; });
}

ProcessHold::ProcessHold(pid_t pid) : pid_(pid) {
  try {
    // A thread that still ran may have started another one.
    while (HoldNewThreads()) {
    }
  } catch (...) {
    Release();
    throw;
  }
  if (threads_.empty()) Refused(ESRCH, "hold of the process");
}

ProcessHold::~ProcessHold() { Release(); }

bool ProcessHold::HoldNewThreads() {
  const size_t known = threads_.size();
  for (const pid_t thread : ThreadsOf(pid_)) {
    const auto is_this = [thread](const Thread& each) { return each.id == thread; };
    if (std::any_of(threads_.begin(), threads_.end(), is_this)) continue;
    if (ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
      if (errno == ESRCH) continue;
      Refused(errno, "hold of the process");
    }
    threads_.push_back({thread, 0});
    ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
  }
  for (size_t index = known; index < threads_.size(); index++) AwaitStop(&threads_[index]);
  return threads_.size() > known;
}

void ProcessHold::AwaitStop(Thread* thread) {
  const auto deadline = std::chrono::steady_clock::now() + kStopsWithin;
  for (;;) {
    int status = 0;
    const pid_t told = waitpid(thread->id, &status, __WALL | WNOHANG);
    if (told == thread->id && WIFSTOPPED(status)) {
      // Above the signal's number stands which event it is; no event is a signal on its way.
      if (status >> 16 == 0) thread->signal = WSTOPSIG(status);
      return;
    }
    if (told != 0 && errno != EINTR) return;  // it ended
    if (std::chrono::steady_clock::now() > deadline) Refused(ETIMEDOUT, "hold of the process");
    nanosleep(&kBetweenLooks, nullptr);
  }
}

void ProcessHold::Release() {
  for (const Thread& thread : threads_) {
    ptrace(PTRACE_DETACH, thread.id, nullptr, static_cast<long>(thread.signal));
  }
  threads_.clear();
}

}  // namespace dwcp
