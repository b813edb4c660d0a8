/* rights.h: a process that is not given memory of some rights, as on hardened systems. */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define REFUSED_RIGHTS (SECCOMP_RET_ERRNO | EACCES)
#define FATAL_RIGHTS SECCOMP_RET_KILL_PROCESS

/* From here on, in children too, mprotect to all of these rights at once, and mmap with these and writing, are answered so. False:
 * this system cannot. */
static inline bool watch_rights(unsigned rights, unsigned answer)
{
#ifdef __x86_64__
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, rights),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rights, 3, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, rights | PROT_WRITE),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rights | PROT_WRITE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#else
    (void)rights, (void)answer;
    return false;
#endif
}

#endif
