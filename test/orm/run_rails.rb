# Runs the recipe for Rails, and what else ActiveRecord does with rows of a
# table; test/t/158_orms.pl knows what must come of it. The connection comes
# from the PG* variables.

require 'active_record'
require 'securerandom'

ActiveRecord::Base.establish_connection(adapter: 'postgresql')
require './shop'

def check(condition, what)
  raise what unless condition
end

def fails(error)
  yield
rescue error
  true
else
  raise "no #{error}"
end

def event(type, key, payload = { n: 1 }, **more)
  { aggregatetype: 'order', aggregateid: key, type: type, payload: payload, **more }
end

# insert_all! would look for the index of a primary key
class Row < ActiveRecord::Base
  self.table_name = 'outboxevent'
  self.inheritance_column = nil
  attribute :payload, :json
end

Order.place('tea')
fails(ActiveRecord::RecordNotUnique) { Order.place('tea') }
fails(ActiveRecord::StatementInvalid) { Order.place('x' * 2000) }

text = { 'text' => "gr\u00fc\u00dfe \"\u20ac\" \\ \n '" }
id = '10000000-0000-4000-8000-000000000001'
OutboxEvent.transaction do
  OutboxEvent.create!(event('Created', 'k1', text, id: id))
  found = OutboxEvent.find(id)
  check found.aggregateid == 'k1' && found.payload == text, 'not found as it was made'
  check found.save && found.reload.type == 'Created', 'not saved as it was'
  check OutboxEvent.count == 1, 'there are others'
end
check OutboxEvent.count.zero?, 'an event is shown after its transaction'

rows = (1..3).map { |n| event('Bulk', "b#{n}", { n: n }) }
check Row.insert_all!(rows, returning: %w[id aggregateid]).to_a.size == 3, 'not three'
Row.insert_all([event('Bulk', 'b4', { n: 4 })])

OutboxEvent.transaction do
  removed = OutboxEvent.create!(event('Removed', 'r1'))
  check OutboxEvent.where(id: removed.id).delete_all == 1, 'not one is removed'
  check OutboxEvent.where(id: removed.id).none?, 'it is still there'
  OutboxEvent.create!(event('Removed', 'r2')).destroy!
end

OutboxEvent.transaction do
  OutboxEvent.create!(event('Kept', 's1'))
  OutboxEvent.transaction(requires_new: true) do
    OutboxEvent.create!(event('Lost', 's2'))
    raise ActiveRecord::Rollback
  end
  changed = OutboxEvent.find_by!(type: 'Kept')
  fails(ActiveRecord::StatementInvalid) do
    OutboxEvent.transaction(requires_new: true) { changed.update!(type: 'Changed') }
  end
  OutboxEvent.create!(event('Tombstone', 't1', nil))
end

OutboxEvent.transaction do
  OutboxEvent.create!(event('Lost', 'l1'))
  raise ActiveRecord::Rollback
end
