//! Lists whose room is used again.
//!
//! What a batch is made of comes in short lists, which pass through a dozen hands. Kept inline
//! they would be copied at each; a list on the heap is three words, and its room goes back to the
//! thread that drops it instead of the allocator.
//!
//! # Invariants
//! - A thread keeps at most 64 rooms a type, of at most 64 elements each.
//!
//! # Cost
//! No allocation, once a thread has dropped as many lists of a type as it holds at a time. A list
//! that is dropped on another thread than its maker's leaves its room there: the lists of a batch
//! stay on the thread of the task that owns the containers' socket.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Rooms that a thread keeps: the lists of the batches that it holds at a time.
const SPARES_MAX: usize = 64;
/// Elements of a room that is kept.
const ROOM_MAX: usize = 64;
/// Elements of the least room: those of most lists.
const ROOM_MIN: usize = 4;

/// Elements of lists whose room is used again.
pub trait Recycle: Sized + 'static {
    /// Where a thread keeps rooms of this type: a `thread_local`.
    fn spares() -> &'static LocalKey<Spares<Self>>;
}

/// The rooms that a thread keeps.
#[derive(Debug)]
pub struct Spares<T>(RefCell<Vec<Vec<T>>>);

impl<T> Spares<T> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Spares(RefCell::new(Vec::new()))
    }

    fn take(&self) -> Option<Vec<T>> {
        self.0.borrow_mut().pop()
    }

    fn keep(&self, room: Vec<T>) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(room);
        }
    }
}

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A list whose room is used again.
pub struct Recycled<T: Recycle>(Vec<T>);

impl<T: Recycle> Recycled<T> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Recycled(Vec::new())
    }

    /// Appends `element`.
    #[inline]
    pub fn push(&mut self, element: T) {
        if self.0.capacity() == 0 {
            self.0 = room();
        }
        self.0.push(element);
    }
}

/// A room that was used before, or a new one.
fn room<T: Recycle>() -> Vec<T> {
    // A thread that ends has none.
    let spare = T::spares().try_with(Spares::take).ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(ROOM_MIN))
}

impl<T: Recycle> Drop for Recycled<T> {
    #[inline]
    fn drop(&mut self) {
        if (1..=ROOM_MAX).contains(&self.0.capacity()) {
            // Before the room is kept: elements may have lists of this type themselves.
            self.0.clear();
            let room = std::mem::take(&mut self.0);
            // A thread that ends gives it back to the allocator.
            let _ = T::spares().try_with(|spares| spares.keep(room));
        }
    }
}

impl<T: Recycle> Default for Recycled<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Recycle> Deref for Recycled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Recycle> DerefMut for Recycled<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Recycle> Extend<T> for Recycled<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        elements.into_iter().for_each(|element| self.push(element));
    }
}

impl<T: Recycle> FromIterator<T> for Recycled<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut list = Recycled::new();
        list.extend(elements);
        list
    }
}

impl<T: Recycle, const N: usize> From<[T; N]> for Recycled<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<'a, T: Recycle> IntoIterator for &'a Recycled<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T: Recycle> IntoIterator for &'a mut Recycled<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

/// The room goes to the allocator: not for each batch.
impl<T: Recycle> IntoIterator for Recycled<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(mut self) -> Self::IntoIter {
        std::mem::take(&mut self.0).into_iter()
    }
}

impl<T: Recycle + Clone> Clone for Recycled<T> {
    fn clone(&self) -> Self {
        self.iter().cloned().collect()
    }
}

impl<T: Recycle + PartialEq> PartialEq for Recycled<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Recycle + Eq> Eq for Recycled<T> {}

impl<T: Recycle + std::fmt::Debug> std::fmt::Debug for Recycled<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Recycle for u32 {
        fn spares() -> &'static LocalKey<Spares<u32>> {
            thread_local!(static SPARES: Spares<u32> = const { Spares::new() });
            &SPARES
        }
    }

    fn spares() -> usize {
        u32::spares().with(|spares| spares.0.borrow().len())
    }

    #[test]
    fn a_room_is_used_again() {
        let list: Recycled<u32> = [1, 2, 3].into_iter().collect();
        let room = list.as_ptr();
        let moved = list;
        drop(moved);
        let mut again = Recycled::new();
        assert_eq!(spares(), 1, "an empty list has no room");
        again.push(7);
        assert_eq!((again.as_ptr(), &again[..], spares()), (room, &[7][..], 0));
    }

    #[test]
    fn few_rooms_are_kept_and_no_large_ones() {
        let large: Recycled<u32> = (0..=ROOM_MAX as u32).collect();
        drop(large);
        assert_eq!(spares(), 0);
        let many: Vec<Recycled<u32>> = (0..SPARES_MAX as u32 + 5)
            .map(|i| [i].into_iter().collect())
            .collect();
        drop(many);
        assert_eq!(spares(), SPARES_MAX);
    }

    #[test]
    fn a_list_may_outlive_its_threads_rooms() {
        thread_local!(static LAST: RefCell<Recycled<u32>> = const { RefCell::new(Recycled::new()) });
        let thread = std::thread::spawn(|| LAST.with_borrow_mut(|list| list.push(1)));
        thread
            .join()
            .expect("dropped after the thread's rooms, or before");
    }
}
