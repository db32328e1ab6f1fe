// ProcessHold: while it lives, no thread of another process runs.
#pragma once
#include <sys/types.h>

#include <vector>

namespace dwcp {

// By ptrace, and not by SIGSTOP: it ends by itself should we die, and a process that somebody else
// stopped meanwhile is still stopped afterwards. Ours for an instant only; to be made and destroyed
// by one thread.
class ProcessHold {
 public:
  // Throws std::system_error where the process is gone, may not be held, or does not stop.
  explicit ProcessHold(pid_t pid);
  ~ProcessHold();
  ProcessHold(const ProcessHold&) = delete;
  ProcessHold& operator=(const ProcessHold&) = delete;

 private:
  struct Thread {
    pid_t id;
    // What it was about to be told when it stopped; it hears it afterwards.
    int signal;
  };

  bool HoldNewThreads();
  void AwaitStop(Thread* thread);
  void Release();

  pid_t pid_;
  std::vector<Thread> threads_;
};

// Every thread is stopped (state T): nothing runs until somebody sends SIGCONT.
bool IsStopped(pid_t pid);

}  // namespace dwcp
