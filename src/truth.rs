//! Which of a lane's revisions is its current truth.
