// SPDX-License-Identifier: Apache-2.0
#include "serial8250.h"

#include <linux/serial_reg.h>
#include <string.h>

void serial_reset(struct serial8250 *s)
{
	s->ier = s->lcr = s->mcr = s->scr = s->dll = s->dlm = 0;
	s->thr_empty_pending = false;
}

static uint8_t interrupt_id(const struct serial8250 *s)
{
	if ((s->ier & UART_IER_RDI) && console_pending(s->con))
		return UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && s->thr_empty_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update(struct serial8250 *s)
{
	if (interrupt_id(s) != UART_IIR_NO_INT)
		irq_pulse(&s->irq);
}

static void write_register(struct serial8250 *s, unsigned int reg, uint8_t value)
{
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab) {
			s->dll = value;
			break;
		}
		if (!(s->mcr & UART_MCR_LOOP))
			console_output(s->con, &value, 1);
		s->thr_empty_pending = true; /* sent already */
		update(s);
		break;
	case UART_IER:
		if (dlab) {
			s->dlm = value;
			break;
		}
		if (value & ~s->ier & UART_IER_THRI)
			s->thr_empty_pending = true;
		s->ier = value & 0xf;
		update(s);
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value;
		break;
	case UART_SCR:
		s->scr = value;
		break;
	}
}

static uint8_t read_register(struct serial8250 *s, unsigned int reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;
	uint8_t value = 0;

	switch (reg) {
	case UART_RX:
		if (dlab)
			return s->dll;
		console_take(s->con, &value, 1);
		update(s);
		return value;
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		value = interrupt_id(s);
		if (value == UART_IIR_THRI)
			s->thr_empty_pending = false;
		return value;
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		value = UART_LSR_THRE | UART_LSR_TEMT;
		return console_pending(s->con) ? value | UART_LSR_DR : value;
	case UART_MSR:
		/* In loop-back the outputs appear as inputs: how drivers tell a UART from a hole.
		 */
		if (s->mcr & UART_MCR_LOOP)
			return (s->mcr & 3) << 4 | (s->mcr & 0xc) << 4;
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	case UART_SCR:
		return s->scr;
	}
	return 0;
}

void serial_access(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct serial8250 *s = opaque;
	unsigned int i;

	for (i = 0; i < len; i++) {
		if (write)
			write_register(s, offset + i, data[i]);
		else
			data[i] = read_register(s, offset + i);
	}
}

bool serial_wants_input(const struct serial8250 *s)
{
	return s->ier & UART_IER_RDI;
}

void serial_input(struct serial8250 *s)
{
	update(s);
}

bool serial_named_in(const char *cmdline)
{
	return strstr(cmdline, "ttyS0") || strstr(cmdline, "uart8250") ||
	       strstr(cmdline, "uart,io,0x3f8") || strstr(cmdline, "earlyprintk=serial");
}
