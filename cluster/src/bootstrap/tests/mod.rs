//! Whole nodes, from empty disks on: founding, agreement, loss and return.

mod agreement;
mod damage;
mod founding;
mod lifecycle;
mod overrides;
mod quota;
mod reading;
mod restoring;
mod upgrade;
mod world;
