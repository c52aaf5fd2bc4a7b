package shop;

import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Table;

/* The recipe's other entity, which has nothing to do with the outbox. */
@Entity
@Table(name = "orders")
public class Order {
	@Id
	@GeneratedValue(strategy = GenerationType.IDENTITY)
	private Long id;
	private String item;

	protected Order() {
	}

	public Order(String item) {
		this.item = item;
	}

	public Long getId() {
		return id;
	}
}
