/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a bound function.
 *
 *          OPEN        ATTACH          MASTER_ON
 *   BOUND ------> OPEN ------> ATTACHED ------> MASTER
 *     ^  CLOSE     |   DETACH    |   MASTER_OFF   |        from everywhere:
 *     +------------+-------------+----------------+        REVOKE -> REVOKED, where it stays
 *                  |  SUSPEND    |                |
 *            SUSPENDED_OPEN   SUSPENDED_ATTACHED <+
 *                  |  RESUME     |
 *              WOKEN_OPEN     WOKEN_ATTACHED
 *                  |  PM_ACK     |
 *                 OPEN        ATTACHED
 *
 * A state with ATTACHED or MASTER in its name has a domain. Only MASTER lets the device do DMA.
 */
#ifndef BARLINE_POLICY_STATE_H
#define BARLINE_POLICY_STATE_H

#include "base.h"

/* The values are part of the ABI (DEV_INFO). */
enum blp_state {
	BLP_BOUND,		/* closed: reset, bus master and interrupts off */
	BLP_OPEN,		/* open, without an address space */
	BLP_ATTACHED,		/* with one; registers may be used */
	BLP_MASTER,		/* and DMA is on */
	BLP_SUSPENDED_OPEN,	/* the system sleeps */
	BLP_SUSPENDED_ATTACHED,
	BLP_WOKEN_OPEN,		/* awake; the process does not know yet that the device lost all */
	BLP_WOKEN_ATTACHED,
	BLP_REVOKED,		/* unplugged or taken away; the fd is an empty shell */
	BLP_STATES
};

enum blp_event {
	BLP_EV_OPEN,
	BLP_EV_CLOSE,
	BLP_EV_ATTACH,
	BLP_EV_DETACH,
	BLP_EV_MASTER_ON,
	BLP_EV_MASTER_OFF,
	BLP_EV_RESET,
	BLP_EV_ACCESS,		/* are BARs and configuration writes allowed? */
	BLP_EV_SUSPEND,
	BLP_EV_RESUME,
	BLP_EV_PM_ACK,
	BLP_EV_REVOKE,
	BLP_EVENTS
};

/*
 * What the caller must do for a transition, from the lowest bit to the highest: it is the only
 * safe order (R12).
 */
#define BLP_DO_VERIFY BIT(0)		/* reset unless it equals the saved state (R11) */
#define BLP_DO_ZAP BIT(1)		/* take all mappings of registers away */
#define BLP_DO_MASTER_OFF BIT(2)
#define BLP_DO_DRAIN BIT(3)		/* wait for transactions on their way */
#define BLP_DO_IRQS_MASK BIT(4)	/* silence, but keep the eventfds */
#define BLP_DO_IRQS_OFF BIT(5)	/* free interrupts and drop the eventfds */
#define BLP_DO_RESET BIT(6)		/* and restore the saved configuration */
#define BLP_DO_IRQS_REARM BIT(7)	/* undo IRQS_MASK */
#define BLP_DO_ATTACH BIT(8)
#define BLP_DO_DETACH BIT(9)		/* domain off, then the address space's reference */
#define BLP_DO_MASTER_ON BIT(10)

struct blp_step {
	u32 state;	/* the next state */
	u32 todo;	/* BLP_DO_* */
};

/*
 * The step that an event takes. 0, or -ENODEV: revoked; -EBUSY: not in this state (open twice,
 * attach twice, asleep); -EPERM: not without an address space; -EINVAL: no such state or event.
 * On an error nothing changes. Events that the kernel brings (CLOSE, SUSPEND, RESUME, REVOKE)
 * never fail in a state in which they can happen.
 */
int blp_state_next(u32 state, u32 event, struct blp_step *out);

/* Whether the state has a domain. */
bool blp_state_attached(u32 state);

/* Whether configuration space may be read: open and awake. */
bool blp_state_can_read_config(u32 state);

#endif
