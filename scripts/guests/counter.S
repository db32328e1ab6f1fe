# Firmware guest: 16-bit real mode, given to QEMU with -bios. It counts in memory; for each count it
# dirties 16 pages and writes "tick N" (eight hex digits) to COM1. A gap or a repeat shows that memory was lost.
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    xor %ebx, %ebx            # the counter lives in memory at 0x600
    mov %ebx, 0x600
next:
    mov 0x600, %ebx
    inc %ebx
    mov %ebx, 0x600
    # dirty: one dword in each of 16 pages from 0x20000 up
    mov $0x2000, %ax
    mov %ax, %es
    mov $16, %cx
    xor %di, %di
dirty:
    mov %ebx, %es:(%di)
    add $4096, %di
    loop dirty
    # "tick " + 8 hex digits + "\n"
    mov $text, %si
1:  lodsb %cs:(%si), %al
    test %al, %al
    jz 2f
    call put
    jmp 1b
2:  mov $8, %cx
3:  rol $4, %ebx
    mov %bl, %al
    and $15, %al
    cmp $10, %al
    jb 4f
    add $39, %al
4:  add $48, %al
    call put
    loop 3b
    mov $10, %al
    call put
    # pause: 2000 dummy port reads, a few milliseconds
    mov $2000, %cx
5:  in $0x80, %al
    loop 5b
    jmp next
put:
    push %ax
    mov $0x3fd, %dx
6:  in %dx, %al
    test $0x20, %al
    jz 6b
    pop %ax
    mov $0x3f8, %dx
    out %al, %dx
    ret
text: .asciz "tick "
    .org 0xfff0            # where the processor starts
    ljmp $0xf000, $_start
    .org 0x10000
