"""The few long-lived processes: scheduler, worker, web, and the supervisor that starts them."""
